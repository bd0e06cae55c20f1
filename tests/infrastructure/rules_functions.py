"""Rules about the functions: what they run, and their settings."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping

from jennah.operations.cost_inputs import INPUTS
from shared.config import Settings
from tests.infrastructure.calls import FUNCTIONS
from tests.infrastructure.configuration import Configuration, only
from tests.infrastructure.reviewed import NOT_SET

_FUNCTION = "google_cloudfunctions2_function.functions"
_ARCHIVE = {
    "bucket": "${google_storage_bucket.source.name}",
    "object": "${google_storage_bucket_object.source.name}",
}


class _Watched(Mapping[str, str]):
    """An environment that remembers what was asked for, however that was. Nobody may ask for all of it."""

    def __init__(self) -> None:
        self._values = {"GOOGLE_CLOUD_PROJECT": "p", "SPANNER_INSTANCE": "instance"}
        self.asked: set[str] = set()

    def __getitem__(self, name: str) -> str:
        self.asked.add(name)
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        raise TypeError("settings are read by their names")

    def __len__(self) -> int:
        raise TypeError("settings are read by their names")


def read_settings() -> set[str]:
    """The names of all variables that the functions read."""
    watched = _Watched()
    Settings.from_env(watched)
    return watched.asked


def set_variables(configuration: Configuration) -> set[str]:
    """The names of all variables that Terraform may set."""
    text = configuration.locals["environment"]
    service = only(configuration.resource(_FUNCTION), "service_config")
    names = set(re.findall(r"\b([A-Z][A-Z0-9_]+) = ", f"{text} {service.get('environment_variables')}"))
    if '"JENNAH_${upper(name)}_SECONDS" => tostring(seconds)' in text and "in var.times" in text:
        times = re.findall(r"(\w+) = optional", str(configuration.variable("times").get("type")))
        names |= {f"JENNAH_{name.upper()}_SECONDS" for name in times}
    return names


def environment(configuration: Configuration) -> Iterator[str]:
    """Every variable that a function reads is set, and every one that is set is read."""
    read, set_ = read_settings(), set_variables(configuration)
    yield from (f"functions read {name}, which is not set" for name in sorted(read - set_ - NOT_SET.keys()))
    yield from (f"{name} is set, and no function reads it" for name in sorted(set_ - read))
    yield from (f"{name} is reviewed as not set, and is" for name in sorted(NOT_SET.keys() & set_))
    service = only(configuration.resource(_FUNCTION), "service_config")
    if "local.environment" not in str(service.get("environment_variables")):
        yield f"{_FUNCTION}: the functions don't get their settings"


def threads(configuration: Configuration) -> Iterator[str]:
    """An instance has a thread for each request that it is given."""
    service = only(configuration.resource(_FUNCTION), "service_config")
    concurrency = str(service.get("max_instance_request_concurrency")).strip("${}")
    if f"THREADS = tostring({concurrency})" not in str(service.get("environment_variables")):
        yield f"{_FUNCTION}: THREADS must be max_instance_request_concurrency"


def source(configuration: Configuration) -> Iterator[str]:
    """Each function is a file of functions/ with the target named; other content is another object."""
    functions: Mapping[str, Mapping[str, str]] = configuration.locals["functions"]
    if set(functions) != set(FUNCTIONS):
        yield f"local.functions has {', '.join(sorted(functions))}"
    for name, function in functions.items():
        module = configuration.code.modules.get(f"functions.{name}")
        targets = {node.name for node in (module.body if module else ()) if isinstance(node, ast.FunctionDef)}
        if function["target"] not in targets:
            yield f"functions/{name}.py has no target {function['target']}"
    build = only(configuration.resource(_FUNCTION), "build_config")
    if build.get("entry_point") != "${each.value.target}":
        yield f"{_FUNCTION}: entry_point must be the function's target"
    if build.get("environment_variables") != {"GOOGLE_FUNCTION_SOURCE": "functions/${each.key}.py"}:
        yield f"{_FUNCTION}: GOOGLE_FUNCTION_SOURCE must name the function's own file"
    if only(only(build, "source"), "storage_source") != _ARCHIVE:
        yield f"{_FUNCTION}: the functions must be built from the archive"
    archive = configuration.resource("google_storage_bucket_object.source")
    if archive.get("name") != "functions/${filesha256(var.source_archive)}.zip":
        yield "google_storage_bucket_object.source must be named after its content: else no change is seen"


def sizes(configuration: Configuration) -> Iterator[str]:
    """Sizes are the variable's, for each function."""
    for name, function in configuration.locals["functions"].items():
        if function["size"] != f"${{var.functions.{name}}}":
            yield f"local.functions.{name}: size must be var.functions.{name}"
    service = only(configuration.resource(_FUNCTION), "service_config")
    for argument, size in {
        "available_memory": "memory",
        "available_cpu": "cpu",
        "max_instance_request_concurrency": "concurrency",
        "min_instance_count": "min_instances",
        "max_instance_count": "max_instances",
    }.items():
        if service.get(argument) != f"${{each.value.size.{size}}}":
            yield f"{_FUNCTION}: {argument} must be the function's {size}"


def capacity(configuration: Configuration) -> Iterator[str]:
    """Sizes that nobody chose are those that docs/costs.md and docs/capacity.md compute with."""
    given = {name: _default_size(configuration, name) for name in FUNCTIONS}
    # Half of submission's may be streams; reconciliation has one tick at a time.
    for name, share in {"submission": 2, "scheduling": 1, "notification": 1}.items():
        if int(given[name]["concurrency"]) / share != INPUTS["concurrency"].value:
            yield f"var.functions.{name}: concurrency is not what docs/costs.md computes with"
    for name, size in given.items():
        if (float(size["cpu"]), size["memory"]) != (
            INPUTS["vcpus"].value,
            f"{1024 * INPUTS['memory_gib'].value:.0f}Mi",
        ):
            yield f"var.functions.{name}: cpu and memory are not what docs/costs.md computes with"
    bounds = str(configuration.variable("functions").get("validation"))
    if f"var.functions.scheduling.max_instances <= {open_creates():.0f}" not in bounds:
        yield f"var.functions: scheduling may have {open_creates():.0f} open requests (docs/capacity.md)"


def open_creates() -> float:
    """How many calls of scheduling may be open: nine tenths of Batch's quota, the rest is for cancels."""
    return 0.9 * INPUTS["batch_mutations"].value / 60 * INPUTS["scheduling_seconds"].value


def _default_size(configuration: Configuration, function: str) -> dict[str, str]:
    type_ = str(configuration.variable("functions").get("type"))
    of_function = re.search(rf"{function} = optional\(object\(\{{(.*?)\}}\)", type_)
    return dict(re.findall(r'(\w+) = optional\(\w+, "?(\w+)"?\)', of_function[1] if of_function else ""))
