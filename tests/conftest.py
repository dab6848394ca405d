"""What all tests need of the process they run in."""

import gc
import importlib.util
import os
import signal
from collections import Counter
from collections.abc import Generator, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tests.examples import ALL

LONG_RUN, BUDGET = 60, 500  # seconds of all tests, on all workers: 250 of two quiet cores

os.environ["HF_HUB_OFFLINE"] = "1"  # no test may reach for a hub; huggingface_hub reads this when it is imported
os.environ["EML_REMOTE_CACHE_SIZE"] = "0"  # no test may fill the cache of its user
os.environ.setdefault("OMP_NUM_THREADS", "1")  # small tensors gain nothing, and threads that wait for a busy core spin
os.environ["EML_MALLOC"] = "default"  # tests of memory need what is freed to leave the process
os.fsync = lambda file: None  # what tests write need not outlive a power cut, and they would wait for the disk
signal.signal(signal.SIGINT, signal.default_int_handler)  # a job started in the background has it ignored
gc.disable()  # until all tests are collected: what is made until then stays, and looking through it takes a third


def pytest_configure(config: pytest.Config) -> None:
    """Draw all examples where wide tests are run too; before any test file is imported, here and in each worker."""
    if "not wide" not in config.option.markexpr:
        os.environ[ALL] = "yes"


def pytest_collection_finish() -> None:
    """Collect garbage again, but not among the modules and tests, which a test's own `gc.collect` need not look at."""
    gc.freeze()
    gc.enable()


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Say after a long run how many seconds the tests took in all, and which files most of them."""
    seconds = Counter[str]()
    for report in (report for reports in terminalreporter.stats.values() for report in reports):
        if isinstance(report, pytest.TestReport):
            seconds[report.location[0]] += report.duration
    if (total := sum(seconds.values())) > LONG_RUN:
        terminalreporter.section(f"{total:.0f} s of tests, {total / BUDGET:.0%} of what `make test` may take")
        for file, count in seconds.most_common(10):
            terminalreporter.line(f"{count:6.1f} s {file}")


@pytest.fixture(scope="session")
def tiny_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a small CLIP, for `open_clip:local-dir:FOLDER`. Its tests are of the xdist group "clip"."""
    from tests.tiny_clip import write_tiny_clip

    pytest.importorskip("open_clip", reason="open_clip_torch is not installed")
    return write_tiny_clip(tmp_path_factory.mktemp("clip") / "tiny_clip")


@pytest.fixture
def plugins_forgotten() -> Iterator[None]:
    """Let other tests of this process know nothing of the plugins that a test imports."""
    from eml.config import plugins

    yield
    plugins.forget_plugins()


@pytest.fixture
def one_scoring(monkeypatch: pytest.MonkeyPatch) -> None:
    """Calibrate answers with one scoring alone: most of the time of a calibration is the choice among them."""
    from eml.evaluation import calibration

    monkeypatch.setattr(calibration, "SCORINGS", calibration.SCORINGS[:1])


@cache
def missing_extras() -> dict[str, str]:
    """Extras that are not installed, and their modules."""
    from eml.commands.doctor import EXTRAS

    return {extra: module for extra, module in EXTRAS.items() if importlib.util.find_spec(module) is None}


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None, None, None]:
    """Fail a test that leaves Ctrl-C to something else, which later tests would wonder at."""
    yield
    if (left := signal.signal(signal.SIGINT, signal.default_int_handler)) is not signal.default_int_handler:
        pytest.fail(f"SIGINT is left to {left}")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """In `make test-no-extras`, skip a test that fails for want of an extra; elsewhere a failure is one."""
    report = yield
    if report.failed and "EML_TESTS_WITHOUT_EXTRAS" in os.environ and (missing := missing_extras()):
        text = "\n".join([report.longreprtext, *(content for _, content in report.sections)])
        signs = ["missing-package", "Unable to find a usable engine"]
        signs += [f"easy-metric-learning[{extra}]" for extra in missing]
        signs += [f"No module named '{module}" for module in missing.values()]
        if any(sign in text for sign in signs):
            report.outcome, report.longrepr = "skipped", (str(item.path), item.location[1] or 0, "needs an extra")
    return report
