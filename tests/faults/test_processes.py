from faults.case import parametrized
from faults.catalogue import PROCESSES

test_every_answer_is_right_or_a_503_and_no_promised_write_is_lost = parametrized(PROCESSES, "single")
