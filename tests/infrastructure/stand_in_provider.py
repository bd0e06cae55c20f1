"""A provider for Terraform that knows the resources' schema and no cloud: what a plan needs, nothing else.

Terraform starts it, and it answers by version 5 of Terraform's plugin protocol, with the schema of
`provider_schema.json`. Values that Google would choose are made up, so that a plan is known as a whole.
Terraform itself then judges the configuration: references, types, validations, arguments that do not exist.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from concurrent import futures
from typing import Any

import grpc
import msgpack  # type: ignore[import-untyped]
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from tests.infrastructure.places import SCHEMA

# Messages of the protocol, as far as they are used: names of fields with their numbers and types. On the
# wire, a map is a list of entries.
_MESSAGES: dict[str, dict[str, tuple[int, str]]] = {
    "Empty": {},
    "Value": {"msgpack": (1, "bytes")},
    "Attribute": {
        "name": (1, "string"),
        "type": (2, "bytes"),
        "required": (4, "bool"),
        "optional": (5, "bool"),
        "computed": (6, "bool"),
    },
    "NestedBlock": {
        "type_name": (1, "string"),
        "block": (2, "Block"),
        "nesting": (3, "int64"),
        "min_items": (4, "int64"),
        "max_items": (5, "int64"),
    },
    "Block": {"attributes": (2, "*Attribute"), "block_types": (3, "*NestedBlock")},
    "Schema": {"block": (2, "Block")},
    "Entry": {"key": (1, "string"), "value": (2, "Schema")},
    "Schemas": {"provider": (1, "Schema"), "resources": (2, "*Entry"), "data_sources": (3, "*Entry")},
    "Config": {"config": (1, "Value")},
    "Plan": {"type_name": (1, "string"), "proposed": (3, "Value")},
    "Planned": {"state": (1, "Value"), "legacy_type_system": (5, "bool")},
    "Read": {"type_name": (1, "string"), "config": (2, "Value")},
}
_SINGLE, _LIST = 1, 2


def _messages() -> dict[str, Any]:
    field = descriptor_pb2.FieldDescriptorProto
    scalars = {
        "bytes": field.TYPE_BYTES,
        "string": field.TYPE_STRING,
        "bool": field.TYPE_BOOL,
        "int64": field.TYPE_INT64,
    }
    file = descriptor_pb2.FileDescriptorProto(name="stand_in.proto", package="stand_in", syntax="proto3")
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for field_name, (number, type_) in fields.items():
            plain = type_.lstrip("*")
            message.field.add(
                name=field_name,
                number=number,
                label=field.LABEL_REPEATED if type_ != plain else field.LABEL_OPTIONAL,
                type=scalars.get(plain, field.TYPE_MESSAGE),
                type_name=None if plain in scalars else f".stand_in.{plain}",
            )
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"stand_in.{name}"))
        for name in _MESSAGES
    }


_PROTOCOL = _messages()


def _block(schema: dict[str, Any]) -> Any:
    block = _PROTOCOL["Block"]()
    for name, (type_, how) in schema["attributes"].items():
        block.attributes.add(
            name=name,
            type=json.dumps(type_.rstrip(")").split("(") if "(" in type_ else type_).encode(),
            required=how == "required",
            optional=how == "optional",
            computed=how != "required",
        )
    for name, nested in schema["blocks"].items():
        block.block_types.add(
            type_name=name,
            block=_block(nested),
            nesting=_SINGLE if name == "timeouts" else _LIST,
            min_items=int(nested["required"]),
            max_items=0 if nested["many"] or name == "timeouts" else 1,
        )
    return block


def _chosen_by_google(kind: str, name: str, body: dict[str, Any]) -> str:
    """A text that looks like what Google would choose."""
    project = body.get("project") or "my-project"
    account = f"{body.get('account_id')}@{project}.iam.gserviceaccount.com"
    known = {
        ("data.google_project", "number"): "123456789012",
        ("google_pubsub_topic", "id"): f"projects/{project}/topics/{body.get('name')}",
        ("google_service_account", "email"): account,
        ("google_service_account", "member"): f"serviceAccount:{account}",
        ("google_service_account", "name"): f"projects/{project}/serviceAccounts/{account}",
        ("google_service_account", "id"): f"projects/{project}/serviceAccounts/{account}",
        ("google_artifact_registry_repository", "name"): str(body.get("repository_id")),
        ("google_project_iam_custom_role", "name"): f"projects/{project}/roles/{body.get('role_id')}",
        ("google_cloudfunctions2_function", "uri"): f"https://{body.get('name')}-made-up-uc.a.run.app",
    }
    return known.get((kind, name), f"{kind}.{name}")


def _completed(
    kind: str, schema: dict[str, Any], value: dict[str, Any], root: dict[str, Any]
) -> dict[str, Any]:
    for name, (type_, how) in schema["attributes"].items():
        if value.get(name) is None and (how == "read-only" or name == "id"):
            made_up = {"string": _chosen_by_google(kind, name, root), "number": 1, "bool": False}
            value[name] = made_up.get(type_, {} if type_.startswith("map") else [])
    for name, nested in schema["blocks"].items():
        for inner in value.get(name) or () if name != "timeouts" else ():
            _completed(kind, nested, inner, root)
    return value


def _packed(kind: str, schema: dict[str, Any], packed: bytes) -> Any:
    value = msgpack.unpackb(packed)
    if value is not None:
        value = _completed(kind, schema, value, value)
    return _PROTOCOL["Value"](msgpack=msgpack.packb(value))


class _Provider:
    def __init__(self, schemas: dict[str, Any]) -> None:
        self._schemas = schemas

    def schemas(self, _request: Any) -> Any:
        answer = _PROTOCOL["Schemas"]()
        answer.provider.block.SetInParent()
        for kind, schema in self._schemas.items():
            data = kind.startswith("data.")
            entry = (answer.data_sources if data else answer.resources).add(key=kind.removeprefix("data."))
            entry.value.block.CopyFrom(_block(schema))
        return answer

    def plan(self, request: Any) -> Any:
        kind = request.type_name
        state = _packed(kind, self._schemas[kind], request.proposed.msgpack)
        return _PROTOCOL["Planned"](state=state, legacy_type_system=True)

    def read(self, request: Any) -> Any:
        kind = f"data.{request.type_name}"
        return _PROTOCOL["Planned"](state=_packed(kind, self._schemas[kind], request.config.msgpack))


def _nothing(_request: Any) -> Any:
    return _PROTOCOL["Empty"]()


def _end(_request: Any) -> Any:
    # The answer may be lost: Terraform asks nothing more.
    os._exit(0)


def _handlers(package: str, calls: dict[str, tuple[str, Callable[[Any], Any]]]) -> Any:
    def handler(request: str, use: Callable[[Any], Any]) -> Any:
        return grpc.unary_unary_rpc_method_handler(
            lambda asked, _context: use(asked),
            request_deserializer=_PROTOCOL[request].FromString,
            response_serializer=lambda answer: answer.SerializeToString(),
        )

    return grpc.method_handlers_generic_handler(
        package, {name: handler(request, use) for name, (request, use) in calls.items()}
    )


def main() -> None:
    """Serve until Terraform says that it is done, or is gone."""
    provider = _Provider(json.loads(SCHEMA.read_text())["resources"])
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=4))
    calls = {
        "GetSchema": ("Empty", provider.schemas),
        "PrepareProviderConfig": ("Config", lambda asked: _PROTOCOL["Config"](config=asked.config)),
        "ValidateResourceTypeConfig": ("Empty", _nothing),
        "ValidateDataSourceConfig": ("Empty", _nothing),
        "Configure": ("Empty", _nothing),
        "PlanResourceChange": ("Plan", provider.plan),
        "ReadDataSource": ("Read", provider.read),
        "Stop": ("Empty", _nothing),
    }
    server.add_generic_rpc_handlers(
        (
            _handlers("tfplugin5.Provider", calls),
            _handlers("plugin.GRPCController", {"Shutdown": ("Empty", _end)}),
        )
    )
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    print(f"1|5|tcp|127.0.0.1:{port}|grpc", flush=True)  # noqa: T201 - how Terraform learns where it is
    # Whoever started it may be killed before it says that it is done.
    parent = os.getppid()
    while os.getppid() == parent and server.wait_for_termination(timeout=1):
        pass


if __name__ == "__main__":
    main()
