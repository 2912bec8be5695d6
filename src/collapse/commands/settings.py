"""Settings to objects, and the provenance of a job: what every verb needs."""

import os
import platform
import resource
import sys
import time
from importlib import import_module
from importlib.metadata import version
from typing import Any

from collapse.errors import ConfigError


def build(cls, options: dict[str, Any], what: str):
    """Make a frozen ``Config`` from options. Raises ConfigError where an option is unknown or missing."""
    try:
        return cls(**{k: tuple(v) if isinstance(v, list) else v for k, v in options.items()})
    except TypeError as error:
        raise ConfigError(f"{what}: {str(error).removeprefix(f'{cls.__name__}.__init__() ')}") from None


def dataset_config(entry: dict[str, Any]):
    """Return the module and the ``Config`` of a dataset entry."""
    module = import_module(f"collapse.datasets.{entry['kind']}")
    return module, build(module.Config, {k: v for k, v in entry.items() if k != "kind"}, f"dataset {entry['kind']}")


def provenance(started: float, **more) -> dict[str, Any]:
    """Return times, memory, host and versions of a job: what may differ between two equal runs."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    packages = {name: version(name) for name in ("numpy", "torch") if name in sys.modules}
    return {
        "seconds": round(time.time() - started, 3),
        "cpu_seconds": round(usage.ru_utime + usage.ru_stime, 3),
        "peak_mib": round(usage.ru_maxrss / 1024, 1),
        "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "host": platform.node(),
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "packages": packages,
        **more,
    }
