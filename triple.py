"""The triple ``backbone/cam/head``, and the one way in which a name becomes a file name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import quote, unquote

TIMM = "timm:"
"""What the names of timm's networks begin with."""


class Triple(str):
    """A backbone, a CAM method and a head, by name; as text it is ``backbone/cam/head``.

    A triple is its text: it serves as a key, is written to JSON and compares equal to the plain string. It is taken
    apart from the right, since a backbone's name may hold slashes (``timm:hf_hub:user/net``).

    Example:
        >>> triple = Triple.parse("timm:hf_hub:user/net/gradcam/softmax")
        >>> triple.backbone, triple.cam, triple.head
        ('timm:hf_hub:user/net', 'gradcam', 'softmax')
        >>> triple.but(head="sigmoid")
        'timm:hf_hub:user/net/gradcam/sigmoid'
    """

    __slots__ = ()

    def __new__(cls, backbone: str, cam: str, head: str) -> Triple:
        """The triple of three names; ``ValueError`` where one is empty, or the method's or head's holds a slash."""
        if not (backbone and cam and head) or "/" in cam or "/" in head:
            raise ValueError(f"triple {f'{backbone}/{cam}/{head}'!r}: expected backbone/cam/head")
        return super().__new__(cls, f"{backbone}/{cam}/{head}")

    @classmethod
    def parse(cls, text: str) -> Triple:
        """The triple that ``text`` spells; ``ValueError`` where it has no three parts."""
        if isinstance(text, Triple):
            return text
        parts = text.rsplit("/", 2)
        if len(parts) != 3 or not all(parts):
            raise ValueError(f"triple {text!r}: expected backbone/cam/head")
        return cls(*parts)

    @property
    def names(self) -> tuple[str, str, str]:
        """Backbone, CAM method and head."""
        backbone, cam, head = self.rsplit("/", 2)
        return backbone, cam, head

    @property
    def backbone(self) -> str:
        """Name of the backbone."""
        return self.names[0]

    @property
    def cam(self) -> str:
        """Name of the CAM method."""
        return self.names[1]

    @property
    def head(self) -> str:
        """Name of the head."""
        return self.names[2]

    def but(self, *, backbone: str | None = None, cam: str | None = None, head: str | None = None) -> Triple:
        """The same triple with other names in the places that are given."""
        return Triple(backbone or self.backbone, cam or self.cam, head or self.head)

    def __getnewargs__(self) -> tuple[str, str, str]:  # type: ignore[override]
        """The three names, for ``pickle`` and ``copy``."""
        return self.names

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Callable[[Any], Any]) -> Any:
        """A field of this type is read by ``parse`` and written as text."""
        from pydantic_core import core_schema

        del source, handler
        return core_schema.no_info_after_validator_function(
            cls.parse, core_schema.str_schema(), serialization=core_schema.plain_serializer_function_ser_schema(str)
        )


def file_name(name: str) -> str:
    """``name`` as one path component: letters, digits and ``_ . - + ~`` stay, the rest is percent-encoded."""
    encoded = quote(name, safe="+", errors="surrogateescape")
    return encoded.replace(".", "%2E", 1) if encoded.startswith(".") else encoded


def name_of_file(component: str) -> str:
    """The name that ``file_name`` made the path component of."""
    return unquote(component, errors="surrogateescape")
