# SPDX-License-Identifier: Apache-2.0
"""Run the scripts `isolated/stress_*.py`: nothing crashes, hangs or comes out false.

`nox -s asan` runs them under the sanitizers. With PYTHONMALLOC=malloc those see every
Python object, which pymalloc's arenas hide from them.
"""

from __future__ import annotations

import pytest

from .isolated_support import ISOLATED, output, run

pytestmark = pytest.mark.extension

ARGUMENTS = {"stress_exit": (("registered",), ("unannounced",))}


def scripts():
    for script in sorted(ISOLATED.glob("stress_*.py")):
        for arguments in ARGUMENTS.get(script.stem, ((),)):
            label = "-".join((script.stem.removeprefix("stress_"), *arguments))
            yield pytest.param(script, arguments, id=label)


@pytest.mark.parametrize("allocator", ["pymalloc", "malloc"])
@pytest.mark.parametrize(("script", "arguments"), [*scripts()])
def test_the_core_stands_the_stress(script, arguments, allocator):
    done = run(script, *arguments, PYTHONMALLOC=allocator)
    assert done.returncode == 0, output(done)
    assert done.stderr == "", output(done)
