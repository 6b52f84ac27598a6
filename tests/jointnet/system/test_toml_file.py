import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jointnet.errors import SettingsError, short_repr
from jointnet.settings import Settings, load_settings
from jointnet.system.toml_file import LARGEST_BYTES, is_file, parse_toml, read_toml


def error_of(content):
    with pytest.raises(SettingsError) as caught:
        parse_toml(content, "own.toml")
    (error,) = caught.value.errors
    assert error.startswith("own.toml: ")
    assert len(error) < 400
    return error


BROKEN = {
    "deep": (b"a = " + b"[" * 5000 + b"]" * 5000, "inside each other"),
    "deep tables": (b"a = " + b"{a = " * 5000 + b"1" + b"}" * 5000, "inside each other"),
    "thousands of digits": (b"a = " + b"9" * 5000, "digits"),
    "beyond 64 bits": (b"a.b = 0x1" + b"0" * 16, "a.b: must be a whole number of at most 64 bits"),
    "thousands of hexadecimal digits": (b"a = 0x" + b"f" * 5000, "64 bits"),
    "in a list": (b"a = [1, [" + b"9" * 30 + b"]]", "a: must be a whole number"),
    "escape sequence": (b'a = "\\u001b[31m"', "printable"),
    "escape sequence as a key": (b'"\\u001b[31m" = 1', "printable keys"),
    "long key": (b"a" * 101 + b" = 1", "printable keys"),
    "cut": (b'a = "', "must be TOML"),
    "no TOML": (b"\x00\xff\xfe", "must be TOML"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_no_setting_is_named(name):
    content, words = BROKEN[name]
    assert words in error_of(content)


def test_the_edges_are_held():
    assert parse_toml(b"a = 0x7fffffffffffffff\nb = \"x\\ny\\tz\"\r\nc = 'caf\xc3\xa9'", "own.toml") == {
        "a": 2**63 - 1,
        "b": "x\ny\tz",
        "c": "café",
    }


def test_a_file_is_read_up_to_a_size(tmp_path):
    path = tmp_path / "own.toml"
    path.write_bytes(b"#" * LARGEST_BYTES)
    assert read_toml(path, "own.toml") == {}
    path.write_bytes(b"#" * (LARGEST_BYTES + 1))
    with pytest.raises(SettingsError, match=f"at most {LARGEST_BYTES} bytes"):
        read_toml(path, "own.toml")
    with pytest.raises(SettingsError, match="readable"):
        read_toml(tmp_path, "own.toml")


@pytest.mark.parametrize("name", ["a" * 5000, "a\0b", "absent", "/dev/null/x", "."], ids=range(5))
def test_a_name_that_no_file_has_is_no_file(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert not is_file(name)
    with pytest.raises(SettingsError, match="must be a TOML file"):
        load_settings(name)


@pytest.mark.parametrize(
    "value", [10**5000, [[10**5000]], "x" * 5000, list(range(10_000))], ids=["whole", "inside", "text", "list"]
)
def test_a_value_is_shown_in_a_few_words(value):
    assert len(short_repr(value)) < 140


def test_shown_is_what_python_writes():
    assert short_repr("a\x1b'") == repr("a\x1b'")
    assert short_repr(0.1) == "0.1"


plain = st.one_of(
    st.integers(), st.floats(), st.booleans(), st.sampled_from(["joint", "cosine", "x", "\x1b"]), st.just([4, 8])
)
keys = st.sampled_from(["alpha", "name", "widths", "epochs", "lambda_1", "schedule", "stem", "head", "other"])
sections = st.sampled_from(["model", "loss", "training", "optimiser", "augmentation", "other"])


def literal(value):
    if isinstance(value, bool):
        return str(value).lower()
    return '"\\u001b"' if value == "\x1b" else repr(value)


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.dictionaries(sections, st.dictionaries(keys, plain, max_size=3), max_size=3),
    st.lists(st.tuples(st.integers(0, 200), st.binary(max_size=3)), max_size=2),
)
def test_any_settings_file_gives_settings_or_names_itself(tmp_path_factory, content, edits):
    lines = [
        f"{section}.{key} = {literal(value)}" for section, table in content.items() for key, value in table.items()
    ]
    data = bytearray("\n".join(lines).encode())
    for at, written in edits:
        data[at:at] = written
    path = tmp_path_factory.mktemp("any") / "own.toml"
    path.write_bytes(data)
    try:
        assert isinstance(load_settings(path), Settings)
    except SettingsError as error:
        assert all("own.toml" in line for line in error.errors)
