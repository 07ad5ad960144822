"""What a config is made of: sections, and sections chosen by a name within them."""

from __future__ import annotations

import ast
import inspect
import sys
from collections.abc import Iterable, Mapping
from functools import cache
from itertools import pairwise
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler, GetJsonSchemaHandler, ValidationError, model_validator
from pydantic_core import CoreSchema, InitErrorDetails, PydanticCustomError, core_schema


class Section(BaseModel):
    """One mapping of a config: unknown keys refused, types taken as they stand, no NaN, no infinity, frozen.

    The docstring below a field is its description, in the JSON Schema and in the manual.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False, defer_build=True)

    def contradictions(self) -> Iterable[tuple[str, str]]:
        """What does not fit together although each value is good: (the key to point at, what is wrong).

        The key may be a path within this section, ``schedule.warmup_steps``.
        """
        return ()

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        made = handler(schema)
        describe(handler.resolve_ref_schema(made), cls)
        return made

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        found = [_contradiction(key, what) for key, what in self.contradictions()]
        if found:
            raise ValidationError.from_exception_data(type(self).__name__, found)
        return self


class Choice:
    """Annotation of a field whose section depends on a name within it: ``model: Annotated[Section, Choice("kind", ...)]``.

    ``key`` holds the name, ``sections`` gives the pydantic model for each (and may load it only when asked), ``default``
    is the name when the key is left out.
    """

    def __init__(self, key: str, sections: Mapping[str, type[Section]], default: str) -> None:
        self.key, self.sections, self.default = key, sections, default

    def validate(self, value: Any) -> Section:
        """Raise pydantic's ``ValidationError`` with the places of all problems."""
        if isinstance(value, Section):
            return value
        if not isinstance(value, Mapping):
            name = value if isinstance(value, str) and value in self.sections else self.default
            raise PydanticCustomError("section_type", "expected a section", {"example": f"{{{self.key}: {name}}}"})
        name = value.get(self.key, self.default)
        if not isinstance(name, str) or name not in self.sections:
            error = PydanticCustomError("unknown_name", "not a known name", {"choices": sorted(self.sections)})
            raise ValidationError.from_exception_data(self.key, [InitErrorDetails(type=error, loc=(self.key,), input=name)])
        return self.section(value).model_validate(value)

    def section(self, value: Mapping[str, Any]) -> type[Section]:
        """The model of the section that names itself in ``value``. Raises ``KeyError`` for a name that nobody gives."""
        return self.sections[value.get(self.key, self.default)]

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(
            self.validate,
            serialization=core_schema.plain_serializer_function_ser_schema(
                lambda section, info: section.model_dump(mode=info.mode), info_arg=True
            ),
        )

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        options = []
        for name in sorted(self.sections):
            option = handler(self.sections[name].__pydantic_core_schema__)
            describe(option, self.sections[name])
            # Without the name there, the default's section alone is meant: the others must then not match.
            options.append(option if name == self.default else {"allOf": [option], "required": [self.key]})
        return {"anyOf": options}


def describe(schema: dict[str, Any], model: type[Section]) -> None:
    for name, text in descriptions(model).items():
        schema["properties"][name]["description"] = text


def descriptions(model: type[Section]) -> dict[str, str]:
    """The docstring below each field of a section, on one line each."""
    found: dict[str, str] = {}
    for kind in reversed(model.__mro__):
        found |= _below_fields(kind.__module__).get(kind.__name__, {}) if issubclass(kind, Section) else {}
    return {name: found[name] for name in model.model_fields if name in found}


@cache
def _below_fields(module: str) -> dict[str, dict[str, str]]:
    """Class -> field -> docstring, read from the source when somebody asks: a run does not."""
    try:
        tree = ast.parse(inspect.getsource(sys.modules[module]))
    except (OSError, TypeError):  # no source: typed into a prompt
        return {}
    found: dict[str, dict[str, str]] = {}
    for kind in (node for node in tree.body if isinstance(node, ast.ClassDef)):
        for field, below in pairwise(kind.body):
            match field, below:
                case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                    found.setdefault(kind.name, {})[name] = " ".join(text.split())
    return found


def _contradiction(key: str, what: str) -> InitErrorDetails:
    return InitErrorDetails(type=PydanticCustomError("contradiction", "{what}", {"what": what}), loc=(key,), input=None)
