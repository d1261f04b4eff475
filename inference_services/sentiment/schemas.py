"""Bodies of requests and answers that predictor, transformer and explainer share: texts in, labels out."""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from blueprints.model_package import ModelPackage
from blueprints.sentiment.text_model import TEXT
from inference_services.serving.errors import MAX_PROBLEMS, Location, Problem, RequestError, refuse
from inference_services.serving.model import Call, Operation, Reply
from inference_services.serving.options import Options

Handler = Callable[[Call], Awaitable[Reply]]

MAX_TEXTS = 1_000
"""Most texts in one request, also where the server would take more rows."""

_LONGEST = 512
_MOST_CHARACTERS = 20_000
# Control characters that no writer means, and halves of surrogate pairs, which no encoder can write. Tab, line feed and
# carriage return are text; so are C1 controls: old Windows quotes that were read as Latin-1 end up there.
_CONTROL = "\x00-\x08\x0b\x0c\x0e-\x1f\x7f"
_FORBIDDEN = re.compile(f"[{_CONTROL}\ud800-\udfff]")
# White space, and characters that show nothing: around a text they do not count.
_BLANK = (
    "\t\n\r \x85\xa0\xad\u034f\u061c\u1680\u180e\u2000-\u200f\u2028-\u202f\u205f-\u206f\u3000\u3164\ufe00-\ufe0f\ufeff"
)
_BLANKS = "".join(re.findall(f"[{_BLANK}]", "".join(map(chr, range(0x10000)))))
_EXAMPLE = "A warm, funny and quietly moving film."


class Texts:
    """Reads texts and describes them, and the answers, in OpenAPI.

    Attributes:
        labels: Labels of the model, in the order of its probabilities.
        version: Version of the model package.
        shortest: Fewest characters of a text, blanks around it not counted.
        longest: Most characters of a text.
        max_texts: Most texts in one request.
    """

    def __init__(self, labels: Sequence[str], version: str, *, shortest: int, longest: int, max_texts: int) -> None:
        self.labels = tuple(labels)
        self.version = version
        self.shortest = max(shortest, 1)
        self.longest = longest
        self.max_texts = max_texts

    @classmethod
    def of(cls, package: ModelPackage, labels: Sequence[str], options: Options, *, max_texts: int = MAX_TEXTS) -> Self:
        """The texts that a package's signature accepts; the flag of `add_text_flags` sets another maximum.

        Args:
            package: The model package.
            labels: Labels in the order of the model's probabilities.
            options: The server's settings.
            max_texts: Most texts in one request; fewer if the server takes fewer rows.
        """
        column = next(column for column in package.signature.inputs if column.name == TEXT)
        return cls(
            labels,
            package.version,
            shortest=column.minimum_length or 1,
            longest=options.model_flags.get("max_characters") or column.maximum_length or _LONGEST,
            max_texts=min(options.max_rows, max_texts),
        )

    def check(self, values: Sequence[Any], loc: Callable[[int], Location]) -> list[str]:
        """The texts themselves, if each of them can be read; nothing is changed in them.

        Args:
            values: What should be texts.
            loc: Where the value at a position stands in the request.

        Raises:
            RequestError: A value is no string, too short, too long, or holds control characters.
        """
        texts = [value for value in values if self._accepts(value)]
        if len(texts) < len(values):
            wrong = [index for index, value in enumerate(values) if not self._accepts(value)][:MAX_PROBLEMS]
            raise RequestError(422, [Problem(loc(index), *self._reason(values[index])) for index in wrong])
        return texts

    def read_typed(self, body: Any) -> tuple[list[str], bool]:
        """Texts of `{"text": …}` or `{"texts": […]}`, and whether it was the first.

        Raises:
            RequestError: The body is neither, or a text cannot be read.
        """
        if type(body) is dict and TEXT in body:
            _only(body, (TEXT,))
            return self.check([body[TEXT]], lambda _: ("body", TEXT)), True
        if type(body) is dict and "texts" in body:
            _only(body, ("texts",))
            texts = self._listed(body["texts"], ("body", "texts"))
            return self.check(texts, lambda index: ("body", "texts", index)), False
        if type(body) is dict:
            _only(body, (TEXT, "texts"))
            raise refuse(("body", TEXT), "is missing: give 'text', or several under 'texts'", "missing")
        raise refuse(("body",), "must be an object with 'text' or 'texts'", "dict_type")

    def read_instances(self, body: Any, *, also: tuple[str, ...] = ()) -> list[str]:
        """Texts of a v1 request, `{"instances": [text or {"text": text}, …]}`.

        Args:
            body: The body.
            also: Fields that may be beside the instances.

        Raises:
            RequestError: There are none, too many, something unknown is beside them, or a text cannot be read.
        """
        if type(body) is not dict:
            raise refuse(("body",), "must be an object with 'instances'", "dict_type")
        _only(body, ("instances", *also))
        if "instances" not in body:
            raise refuse(("body", "instances"), "is missing", "missing")
        instances = self._listed(body["instances"], ("body", "instances"))
        for index, instance in enumerate(instances):
            if type(instance) is dict:
                _only(instance, (TEXT,), ("body", "instances", index))
                if TEXT not in instance:
                    raise refuse(("body", "instances", index, TEXT), "is missing", "missing")
        return self.check(
            [instance[TEXT] if type(instance) is dict else instance for instance in instances],
            lambda index: ("body", "instances", index, *([TEXT] if type(instances[index]) is dict else [])),
        )

    def read_tensor(self, values: Sequence[Any]) -> list[str]:
        """Texts of the v2 tensor `text`.

        Raises:
            RequestError: There are too many, or a text cannot be read.
        """
        self._count(len(values), ("body", "inputs", TEXT, "shape"))
        return self.check(values, lambda index: ("body", "inputs", TEXT, index))

    def prediction(self, probabilities: Sequence[float]) -> dict[str, Any]:
        """The answer about one text with these probabilities of the labels."""
        best = max(probabilities)
        return {
            "label": self.labels[probabilities.index(best)],
            "probability": best,
            "probabilities": dict(zip(self.labels, probabilities, strict=True)),
        }

    def typed_answer(self, probabilities: NDArray[np.floating], *, single: bool) -> dict[str, Any]:
        """The body of the typed answer; `probabilities` has shape (texts, labels)."""
        predictions = [self.prediction(row) for row in probabilities.tolist()]
        if single:
            return {**predictions[0], "model_version": self.version}
        return {"predictions": predictions, "model_version": self.version}

    def operations(self, name: str, typed: Handler, v1: Handler) -> list[Operation]:
        """The typed `/predict` and KServe's v1 predict.

        Args:
            name: Name of the model.
            typed: Answers the first.
            v1: Answers the second.
        """
        return [
            Operation(
                "POST",
                "/predict",
                typed,
                "Sentiment of a text, or of several",
                "sentiment",
                self.typed_response(),
                request=self.typed_request(),
                example={TEXT: self.example},
            ),
            Operation(
                "POST",
                f"/v1/models/{name}:predict",
                v1,
                "Sentiment of texts",
                "v1",
                self.predictions_response(),
                request=self.instances_request(),
                example={"instances": [self.example]},
            ),
        ]

    def schemas(self) -> dict[str, Any]:
        """JSON Schemas of a text and of a prediction."""
        share = {"type": "number", "minimum": 0, "maximum": 1}
        visible = f"[^{_CONTROL}{_BLANK}]"
        # As ECMA-262 writes it; the same rules as `check`, for clients that want to know before they send.
        pattern = visible if self.shortest == 1 else f"{visible}[^{_CONTROL}]{{{self.shortest - 2},}}{visible}"
        return {
            "Text": {
                "type": "string",
                "title": "Text",
                "description": "Blanks around it do not count; control characters are refused.",
                "minLength": self.shortest,
                "maxLength": self.longest,
                "pattern": _ascii(f"^[^{_CONTROL}]*{pattern}[^{_CONTROL}]*$"),
            },
            "Prediction": {
                "type": "object",
                "required": ["label", "probability", "probabilities"],
                "properties": {
                    "label": {"enum": list(self.labels), "description": "The most probable label."},
                    "probability": {**share, "description": "Its calibrated probability."},
                    "probabilities": {
                        "type": "object",
                        "required": list(self.labels),
                        "properties": dict.fromkeys(self.labels, share),
                    },
                },
            },
        }

    def typed_request(self) -> dict[str, Any]:
        """JSON Schema of `{"text": …}` or `{"texts": […]}`."""
        text = {"$ref": "#/components/schemas/Text"}
        return {
            "anyOf": [
                {"type": "object", "required": [name], "additionalProperties": False, "properties": {name: schema}}
                for name, schema in ((TEXT, text), ("texts", self._several(text)))
            ]
        }

    def instances_request(self, **more: Any) -> dict[str, Any]:
        """JSON Schema of a v1 request; `more` are fields beside the instances."""
        text = {"$ref": "#/components/schemas/Text"}
        named = {"type": "object", "required": [TEXT], "additionalProperties": False, "properties": {TEXT: text}}
        return {
            "type": "object",
            "required": ["instances"],
            "additionalProperties": False,
            "properties": {"instances": self._several({"anyOf": [text, named]}), **more},
        }

    def typed_response(self) -> dict[str, Any]:
        """JSON Schema of the typed answer."""
        version = {"type": "object", "required": ["model_version"], "properties": {"model_version": {"type": "string"}}}
        one = {"allOf": [{"$ref": "#/components/schemas/Prediction"}, version]}
        return {"anyOf": [one, self.predictions_response()]}

    def predictions_response(self) -> dict[str, Any]:
        """JSON Schema of several predictions: the answer to `texts`, and to v1 instances."""
        return {
            "type": "object",
            "required": ["predictions", "model_version"],
            "properties": {
                "predictions": {"type": "array", "items": {"$ref": "#/components/schemas/Prediction"}},
                "model_version": {"type": "string"},
            },
        }

    @property
    def example(self) -> str:
        """A text for the documentation."""
        return _EXAMPLE[: self.longest]

    def _several(self, item: dict[str, Any]) -> dict[str, Any]:
        return {"type": "array", "items": item, "minItems": 1, "maxItems": self.max_texts}

    def _listed(self, values: Any, loc: Location) -> list[Any]:
        if type(values) is not list:
            raise refuse(loc, "must be an array of texts", "list_type")
        if not values:
            raise refuse(loc, "is empty: send at least one text", "too_short")
        self._count(len(values), loc)
        return values

    def _count(self, count: int, loc: Location) -> None:
        if count > self.max_texts:
            raise refuse(loc, f"at most {self.max_texts} texts in one request, not {count}", "too_long")

    def _accepts(self, value: Any) -> bool:
        return (
            type(value) is str
            and len(value) <= self.longest
            and len(value.strip(_BLANKS)) >= self.shortest
            and _FORBIDDEN.search(value) is None
        )

    def _reason(self, value: Any) -> tuple[str, str]:
        """What is wrong with a value that was refused, and the type of the problem."""
        if type(value) is not str:
            return "must be a string", "string_type"
        if len(value) > self.longest:
            return f"must be at most {self.longest} characters, not {len(value)}", "string_too_long"
        if found := _FORBIDDEN.search(value):
            code = ord(found[0])
            if code >= 0xD800:
                return f"character {found.start()} is half of a surrogate pair, U+{code:04X}", "string_unicode"
            return f"character {found.start()} is the control character U+{code:04X}", "string_control_character"
        length = len(value.strip(_BLANKS))
        if not length:
            return "is blank: there is nothing to read", "string_too_short"
        message = f"must be at least {self.shortest} characters, blanks around them not counted, not {length}"
        return message, "string_too_short"


def add_text_flags(group: argparse._ArgumentGroup) -> None:
    """Adds `--max_characters`, or `MAX_CHARACTERS` in the environment: another maximum than the signature says."""
    default = os.environ.get("MAX_CHARACTERS")
    group.add_argument(
        "--max_characters", type=_characters, default=default, help="longest text; by default as in the package"
    )


def _characters(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 0 < int(text) <= _MOST_CHARACTERS):
        raise argparse.ArgumentTypeError(f"{text}: give 1 to {_MOST_CHARACTERS} characters")
    return int(text)


def nothing_to_read(position: int) -> RequestError:
    """A text of signs that the tokenizer leaves out, all of them: a refusal that names its position."""
    return refuse(("body", "texts", position), "holds nothing that the model can read", "string_unreadable")


def _only(value: dict[str, Any], known: tuple[str, ...], loc: Location = ("body",)) -> None:
    for key in value:
        if key not in known:
            raise refuse((*loc, key[:80]), f"unknown field; known are {', '.join(known)}", "extra_forbidden")


def _ascii(pattern: str) -> str:
    """A regular expression with every other character than ASCII's visible ones written as an escape."""
    return "".join(char if char.isascii() and char.isprintable() else f"\\u{ord(char):04x}" for char in pattern)
