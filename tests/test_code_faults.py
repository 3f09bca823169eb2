"""The list of `make faults-in-code` fits the code: a line that moved would no longer be tried."""

from __future__ import annotations

import pytest

from tests.faults_in_code import HOME, place_of
from tests.helpers.code_faults import FAULTS, CodeFault


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: f"{fault.file}: {fault.wrong}")
def test_the_line_of_a_fault_stands_once_in_its_file(fault: CodeFault) -> None:
    assert place_of(HOME, fault) is not None, f"{fault.right!r} does not stand once in {fault.file}"
    assert fault.right != fault.wrong
    assert [word for word in fault.tests.split() if (HOME / word).exists()], "its tests are not there"
