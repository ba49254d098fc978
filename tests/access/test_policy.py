"""Policies of the operator and of a repository's owners, and which of them wins."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bassloop.access.policy import (
    NamedUser,
    OperatorRules,
    Policy,
    PolicyError,
    Rules,
    read_operator_rules,
    read_rules,
    resolve_policy,
)

SETTINGS = Policy(runner_wait=600, check_limit=3600)
OPERATOR = """
[default]
hold = "first-timers"
fallback = ["ci"]

[repository."octocat/*"]
check_limit = 60

[repository."Octocat/Hello"]
hooks_from = "base"
check_limit = 90
"""


def test_a_repository_that_says_nothing_gets_the_operators_default() -> None:
    operator = read_operator_rules(OPERATOR, "policy.toml")
    policy = resolve_policy(SETTINGS, operator, "hubot/other", Rules())
    assert policy.hold == "first-timers"
    assert policy.fallback == (NamedUser("ci", trusted=True),)
    assert (policy.hooks_from, policy.check_limit, policy.supersede) == ("head", 3600, True)


def test_the_operators_rules_for_a_repository_take_precedence_over_its_file() -> None:
    operator = read_operator_rules(OPERATOR, "policy.toml")
    owners = read_rules(
        b'hooks_from = "head"\nhold = "nobody"\nfallback = ["bot"]\nsupersede = false'
    )
    policy = resolve_policy(SETTINGS, operator, "octocat/hello", owners)
    assert (policy.hooks_from, policy.hold, policy.supersede) == ("base", "nobody", False)
    assert policy.fallback == (NamedUser("bot", trusted=False),)
    assert policy.check_limit == 90
    assert resolve_policy(SETTINGS, operator, "octocat/other", owners).check_limit == 60


def test_owners_may_shorten_the_operators_time_limits_but_not_extend_them() -> None:
    owners = read_rules(b"check_limit = 9000\nrunner_wait = 5\n[checks]\nsoak = 7200\nunit = 60\n")
    policy = resolve_policy(SETTINGS, OperatorRules(), "octocat/hello", owners)
    assert (policy.check_limit, policy.runner_wait) == (3600, 5)
    assert policy.checks == {"soak": 3600, "unit": 60}
    operator = read_operator_rules("[default]\ncheck_limit = 86400", "policy.toml")
    policy = resolve_policy(SETTINGS, operator, "octocat/hello", owners)
    assert (policy.check_limit, policy.checks["soak"]) == (9000, 7200)


def test_the_operators_limit_for_a_check_is_not_shortened_by_a_general_limit() -> None:
    text = "[default]\ncheck_limit = 60\n[default.checks]\nslow = 600\n"
    operator = read_operator_rules(text, "policy.toml")
    for owners in (Rules(), read_rules(b"supersede = false"), read_rules(b"check_limit = 30")):
        assert resolve_policy(SETTINGS, operator, "o/r", owners).limit("slow") == 600
    owners = read_rules(b"[checks]\nslow = 900\n")
    assert resolve_policy(SETTINGS, operator, "o/r", owners).limit("slow") == 60


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('hold = "all"', "hold: 'all' must be 'nobody', 'first-timers' or 'outsiders'"),
        ("hooks_form = 1", "hooks_form: there is no such setting (did you mean hooks_from?)"),
        ('fallback = ["no login!"]', "fallback.0: 'no login!' is not a GitHub login"),
        ('events = ["Issue Comment"]', "events.0: 'Issue Comment' is not an event's name"),
        ('supersede = "yes"', "supersede: it must be true or false"),
        ("check_limit = -1", "check_limit: -1 must be greater than 0"),
        (
            "[checks]\nsoak = true",
            "checks.soak: it must be a table, a command in quotes, or a time limit",
        ),
        ("what\n", ".bassloop.toml:1:5: this is not TOML: "),
        ("[checks.my check]", 'a name with spaces needs quotes: [checks."my check"]'),
        (".".join(["a"] * 41) + " = 1", "this is not TOML: A key has more than 40 parts"),
        (f"[trust.checks]\n'{'*a' * 501}' = 'trusted'", ".bassloop.toml:2: trust.checks.*a*a"),
        ("a = " + "9" * 5_000, "this is not TOML: A number has too many digits"),
        ("a = " + "[" * 5_000 + "]" * 5_000, "this is not TOML: Values are nested too deeply"),
        ("\ud800", ".bassloop.toml:1: this is not UTF-8 text"),
        ("#" * (1 << 17), "longer than 64 KiB"),
    ],
)
def test_mistakes_in_a_policy_are_named(text: str, said: str) -> None:
    with pytest.raises(PolicyError) as caught:
        read_rules(text.encode(errors="surrogatepass"))
    assert said in str(caught.value)


def test_a_name_that_no_repository_has_is_refused() -> None:
    with pytest.raises(PolicyError, match=r"'hello' is not OWNER/NAME, OWNER/\* or \*"):
        read_operator_rules('[repository."hello"]\nhold = "nobody"', "policy.toml")


def test_the_documented_policies_are_valid_and_use_every_setting() -> None:
    text = (Path(__file__).parents[2] / "docs" / "github.md").read_text()
    owners, operators = re.findall(r"```toml\n(.*?)```", text, re.DOTALL)
    assert read_rules(owners.encode()).model_fields_set == set(Rules.model_fields)
    assert read_operator_rules(operators, "policy.toml").repository.keys() == {
        "*",
        "our-org/*",
        "our-org/site",
    }


@given(st.binary(max_size=200))
def test_any_bytes_are_parsed_or_refused_with_an_error(content: bytes) -> None:
    said = ".bassloop.toml"
    try:
        read_rules(content)
    except PolicyError as error:
        said = str(error)
    assert said.startswith(".bassloop.toml")


@pytest.mark.parametrize(
    ("check", "runners"),
    [
        ("build", "trusted"),
        ("test (3.12)", "both"),
        ("test", "both"),
        ("tests", "sender"),
        ("release", "trusted"),
        ("a*b", "both"),
        ("aXb", "sender"),
    ],
)
def test_a_check_may_name_its_runners_but_the_trust_table_has_precedence(
    check: str, runners: str
) -> None:
    policy = resolve_policy(
        SETTINGS,
        OperatorRules(),
        "octocat/hello",
        read_rules(
            b'[trust.checks]\nrel* = "trusted"\n'.replace(b"rel*", b'"rel*"')
            + b'[checks.build]\nrun = "make"\nrunners = "trusted"\n'
            + b'[checks.test]\nrun = "make"\nrunners = "both"\nmatrix = { v = ["3.12"] }\n'
            + b'[checks.release]\nrun = "make"\nrunners = "sender"\n'
            + b'[checks."a*b"]\nrun = "make"\nrunners = "both"\n'
        ),
    )
    assert policy.trust.runners_of(check) == runners


@pytest.mark.parametrize(
    "text",
    [
        b'[checks.it]\nrun = "x"\nrunners = "mine"\n',
        b'[trust]\nrunners = ["@org"]\n',
        b'[trust]\nrunners = ["org/team"]\n',
        b'[trust]\nrunners = ["@org/../team"]\n',
    ],
)
def test_trust_without_valid_users_is_refused(text: bytes) -> None:
    with pytest.raises(PolicyError, match="trust"):
        read_rules(text)
