"""One test function for all files of faults. Each file has those of one group, so that they can run side by side."""

import pytest
from faults.catalogue import cases
from faults.scene import Scene, play


def parametrized(faults, stores=""):
    """Return the test of these faults on each of their stores whose names begin with ``stores``."""

    def marks(fault, store):
        return [pytest.mark.heavy, *([pytest.mark.long] if store in fault.long else [])]

    @pytest.mark.parametrize(
        ("fault", "store"),
        [
            pytest.param(fault, store, id=f"{fault.name}-{store}", marks=marks(fault, store))
            for fault, store in cases(faults, stores)
        ],
    )
    async def test(fault, store, request, tmp_path, figures):
        scene = Scene(request.getfixturevalue(store), tmp_path)
        figures[fault.name, store], wrong = await play(fault, scene)
        print(figures[fault.name, store])  # noqa: T201

        if wrong:
            pytest.fail("\n".join([*wrong[:20], *scene.service.messages]), pytrace=False)

    return test
