"""Messages go through JSON and back, and nothing else passes."""

import json

import pytest

from r2talker.errors import R2TalkerError
from r2talker.live.messages import FROM_PAGE, TO_PAGE, Look, Microphone, Played, decode, defaults, encode, name_of, schema


@pytest.mark.parametrize("kind", FROM_PAGE, ids=name_of)
def test_what_the_page_says_comes_back(kind: type) -> None:
    message = kind()
    assert decode(encode(message)) == message
    assert decode(json.dumps({"type": name_of(kind)})) == message
    assert json.loads(encode(message)) == {"type": name_of(kind), **defaults(kind)}


def test_fields_are_taken() -> None:
    assert decode('{"type": "look", "yaw": 3, "landmarks": true}') == Look(yaw=3, landmarks=True)
    assert decode('{"type": "microphone", "open": true}') == Microphone(open=True)
    assert decode('{"type": "played", "delays": [1.5, 2]}') == Played(delays=[1.5, 2])


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "must be JSON"),
        ("[" * 100_000, "must be JSON"),
        ("[1]", "must be a JSON object"),
        ('{"type": "quit"}', "no message of type 'quit'"),
        ('{"type": ["look"]}', "no message of type"),
        ('{"type": "welcome"}', "no message of type 'welcome'"),
        ('{"type": "look", "colour_": "#fff"}', "look has no field 'colour_'"),
        ('{"type": "look", "kind": "sound"}', 'look.kind must be "image" | "depth" | "normal" | "alpha"'),
        ('{"type": "look", "size": 1.5}', "look.size must be integer"),
        ('{"type": "look", "size": true}', "look.size must be integer"),
        ('{"type": "look", "yaw": NaN}', "look.yaw must be number"),
        ('{"type": "look", "yaw": 1e999}', "look.yaw must be number"),
        ('{"type": "look", "aabb": [1, "2"]}', "look.aabb must be number[]"),
        ('{"type": "look", "landmarks": 1}', "look.landmarks must be boolean"),
        ('{"type": "switch", "avatar": null}', "switch.avatar must be string"),
    ],
)
def test_anything_else_is_refused_with_a_reason(text: str, fault: str) -> None:
    with pytest.raises(R2TalkerError, match=r"/v1/schema$") as refusal:
        decode(text)
    assert fault in str(refusal.value)


def test_the_schema_has_every_message() -> None:
    described = schema()
    assert set(described["fromPage"]) == {name_of(kind) for kind in FROM_PAGE}
    assert set(described["toPage"]) == {name_of(kind) for kind in TO_PAGE}
    assert described["fromPage"]["look"]["aabb"] == "number[]"
    assert described["toPage"]["report"]["queues"] == "{number}"
