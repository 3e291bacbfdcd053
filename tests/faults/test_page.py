from faults.catalogue import FAULTS, cases
from faults.page import rows_of_page, title


def test_each_fault_has_its_row_on_the_page():
    assert rows_of_page() == [title(fault, store) for fault, store in cases(FAULTS)], "run make faults"
