"""Building blocks of the settings sections."""

from typing import Annotated, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict
from pydantic_settings import NoDecode

T = TypeVar("T")


class Section(BaseModel):
    """Settings of one subject. A component that needs no others takes its section; `Settings` combines them all."""

    model_config = ConfigDict(frozen=True, defer_build=True)


def _split(value: object) -> object:
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return value


#: A tuple that the environment and files may also write as `a,b`.
CommaSeparated = Annotated[tuple[T, ...], NoDecode, BeforeValidator(_split)]
