"""What the query of a request asks for."""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

from localcluster.api.admission import FieldValidation
from localcluster.api.errors import bad_request
from localcluster.api.registry import WriteOptions
from localcluster.api.store import expired

_LONGEST_MANAGER = 128


@dataclass(frozen=True)
class Parameters:
    """A query.

    Attributes:
        query: Its names and values.
    """

    query: Mapping[str, str]

    def text(self, name: str) -> str:
        """A value; empty if it is not there."""
        return self.query.get(name, "")

    def flag(self, name: str) -> bool:
        """A boolean as Kubernetes reads it: anything but `false` and `0` is true."""
        return name in self.query and self.query[name].lower() not in {"false", "0"}

    def number(self, name: str) -> int | None:
        """A number, None if it is not there.

        Raises:
            ApiError: 400 if it is something else.
        """
        text = self.text(name)
        if not text:
            return None
        if not re.fullmatch(r"[0-9]{1,12}", text):
            raise bad_request(f"{name} must be a number, 0 or more, not {text[:100]!r}")
        return int(text)

    @property
    def dry_run(self) -> bool:
        """Whether nothing is to be stored.

        Raises:
            ApiError: 400 for an unknown value.
        """
        if self.text("dryRun") not in {"", "All"}:
            raise bad_request(f"dryRun must be All, not {self.text('dryRun')[:100]!r}")
        return bool(self.text("dryRun"))

    def write_options(self, user_agent: str, subresource: str) -> WriteOptions:
        """What is asked for beside a write; who names no field manager is known by its program.

        Raises:
            ApiError: 400 for unknown values.
        """
        validation = self.text("fieldValidation") or "Warn"
        if validation not in {"Strict", "Warn", "Ignore"}:
            raise bad_request(f"fieldValidation must be Strict, Warn or Ignore, not {validation[:100]!r}")
        program = "".join(filter(str.isprintable, user_agent.partition("/")[0].strip()))[:_LONGEST_MANAGER]
        manager = self.text("fieldManager") or program or "unknown"
        if len(manager) > _LONGEST_MANAGER or not manager.isprintable():
            raise bad_request(f"fieldManager must be printable, and at most {_LONGEST_MANAGER} characters")
        return WriteOptions(
            manager,
            dry_run=self.dry_run,
            field_validation=cast("FieldValidation", validation),
            force=self.flag("force"),
            subresource=subresource,
        )


@dataclass(frozen=True)
class Page:
    """A part of a list.

    Attributes:
        version: resourceVersion of the list that it is a part of.
        after: Namespace and name of the last object before it.
    """

    version: int
    after: tuple[str, str]

    def token(self) -> str:
        """What the client sends back to get this part."""
        return base64.urlsafe_b64encode(json.dumps([self.version, *self.after]).encode()).decode()

    @classmethod
    def of(cls, token: str) -> Page:
        """Reads a token.

        Raises:
            ApiError: 400 if it is not one.
        """
        try:
            version, namespace, name = json.loads(base64.urlsafe_b64decode(token))
            return cls(int(version), (str(namespace), str(name)))
        except (ValueError, TypeError, binascii.Error, RecursionError):
            raise bad_request("continue key is not valid: list again from the start") from None


def version_of(text: str, *, current: int) -> int | None:
    """A resourceVersion; None for any.

    Raises:
        ApiError: 400 if it is not a number; 410 if the server never reached it.
    """
    if text in {"", "0"}:
        return None
    if not re.fullmatch(r"[0-9]{1,18}", text):
        raise bad_request(f"resourceVersion must be a number, not {text[:100]!r}")
    if int(text) > current:
        raise expired(text)
    return int(text)


def check_match(parameters: Parameters) -> str:
    """`resourceVersionMatch`, if it fits with the rest.

    Raises:
        ApiError: 400 if it does not.
    """
    match = parameters.text("resourceVersionMatch")
    initial = "sendInitialEvents" in parameters.query
    if match not in {"", "Exact", "NotOlderThan"}:
        raise bad_request(f"resourceVersionMatch must be Exact or NotOlderThan, not {match[:100]!r}")
    if parameters.flag("watch"):
        if initial and match != "NotOlderThan":
            raise bad_request("sendInitialEvents goes with resourceVersionMatch=NotOlderThan")
        if match and not initial:
            raise bad_request("resourceVersionMatch of a watch goes with sendInitialEvents")
    elif initial:
        raise bad_request("sendInitialEvents is for watches")
    elif match and not parameters.text("resourceVersion"):
        raise bad_request("resourceVersionMatch goes with a resourceVersion")
    return match
