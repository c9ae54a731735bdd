"""One run of the benchmark in a process of its own: `python -m weightspace.tasks.molecular._worker JOB`."""

import json
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from weightspace.errors import WeightspaceError
from weightspace.tasks._folder import write_json
from weightspace.tasks.molecular._bench import BUSY, FAILURE, LOG, plan_from
from weightspace.tasks.molecular._entry import BenchmarkModel
from weightspace.tasks.molecular._fit import RunOptions
from weightspace.tasks.molecular._run import run_model
from weightspace.tasks.molecular._settings import FolderInUseError


def work(path: Path) -> dict[str, Any]:
    """Do the job of a file, and return its result."""
    job = json.loads(path.read_text())
    plan = plan_from(job)
    entry = BenchmarkModel.from_json(job["entry"])
    return run_model(
        entry,
        plan.splits(),
        path.parent,
        budget=plan.budget,
        seed=job["seed"],
        options=RunOptions(**job["options"]),
        md=plan.runs_md(job["seed"]),
        md_temperature=plan.md_temperature,
    )


def main(arguments: Sequence[str]) -> int:
    """The exit code; an error goes into `failure.json` beside the job, where it came from into `log.txt`.

    Args:
        arguments: the file of the job.
    """
    path = Path(arguments[0])
    try:
        work(path)
    except FolderInUseError:
        return BUSY
    except WeightspaceError as error:
        write_json(path.parent / FAILURE, {"error": f"{type(error).__name__}: {error}"})
        return 1
    except KeyboardInterrupt:
        return 130
    except Exception as error:  # noqa: BLE001  of a model of one's own, or memory that is not enough
        with (path.parent / LOG).open("a", encoding="utf-8") as log:
            log.write(traceback.format_exc())
        write_json(path.parent / FAILURE, {"error": f"{type(error).__name__}: {error} (see {path.parent / LOG})"})
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
