"""`jennah doctor` on who may do what in Google's cloud, which a server tells that answers as Google would."""

from __future__ import annotations

import re
from typing import Any

import pytest

from jennah.operations.doctor import Deployment, Finding, Verdict, examine
from jennah.operations.doctor_access import access_checks
from jennah.operations.doctor_policies import NOT_JUDGED, RIGHTS
from tests.infrastructure.places import PERMISSIONS
from tests.integration.access_faults import BROKEN, IN_PROJECT, OF_PROJECT, of, pushing
from tests.integration.google_apis import (
    AGENT,
    DEPLOYMENT,
    PLACE,
    PROJECT,
    RUN,
    TOPICS,
    Refusal,
    account,
    lint_gcloud,
    policy,
    serving,
    well,
)

CHECKS = [
    *(f"push to {function}" for function in TOPICS.values()),
    "functions' accounts",
    "jobs' account",
    "tick",
]


@pytest.fixture(autouse=True)
def _direct(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


def examined(answers: dict[str, Any], deployment: Deployment = DEPLOYMENT) -> list[Finding]:
    with serving(answers) as rest:
        return examine(access_checks(deployment, rest))


def test_a_deployment_as_terraform_makes_it_is_well() -> None:
    findings = examined(well())
    assert [(finding.check, finding.verdict) for finding in findings] == [
        (name, Verdict.WELL) for name in CHECKS
    ]


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_broken_is_named_alone_and_what_mends_it(name: str) -> None:
    breaks, check, words, remedy = BROKEN[name]
    answers = well()
    breaks(answers)
    findings = examined(answers)
    (found,) = (finding for finding in findings if finding.verdict is not Verdict.WELL)
    assert (found.check, found.verdict) == (check, Verdict.TO_FIX)
    assert words in found.found
    assert remedy in found.fix
    assert {finding.check for finding in findings} == set(CHECKS)


def test_pubsub_without_a_right_to_sign_fails_all_three_pushes() -> None:
    answers = well()
    answers[f"iam/{PLACE}/serviceAccounts/{account('push')}:getIamPolicy"] = policy()
    wrong = [finding for finding in examined(answers) if finding.verdict is not Verdict.WELL]
    assert [finding.check for finding in wrong] == [f"push to {function}" for function in TOPICS.values()]
    assert all("lacks roles/iam.serviceAccountOpenIdTokenCreator" in finding.found for finding in wrong)


def test_a_function_that_is_missing_is_named_wherever_it_is_needed() -> None:
    answers = well()
    del answers[f"run/{RUN}scheduling"]
    wrong = [finding for finding in examined(answers) if finding.verdict is not Verdict.WELL]
    assert [finding.check for finding in wrong] == [
        "push to scheduling",
        "functions' accounts",
        "jobs' account",
    ]
    for finding in wrong:
        assert finding.found == "Cloud Run has no service jennah-scheduling in us-central1"
        assert finding.fix == f"make deploy PROJECT={PROJECT} APPLY=1"


def test_what_is_allowed_in_a_wider_way_is_well() -> None:
    answers = well()
    answers[f"iam/{PLACE}/serviceAccounts/{account('push')}:getIamPolicy"] = policy()
    answers[f"pubsub/{PLACE}/topics/jobs:getIamPolicy"] = policy()
    answers[f"run/{RUN}scheduling:getIamPolicy"] = policy()
    answers[f"run/{RUN}scheduling"]["invokerIamDisabled"] = True
    answers[f"run/{RUN}scheduling"]["customAudiences"] = ["jennah"]
    pushing(endpoint="https://jennah-scheduling-123456789012.us-central1.run.app/", audience="jennah")(
        answers
    )
    answers[OF_PROJECT]["bindings"] += policy(
        roles__pubsub_dot_serviceAgent=[AGENT],
        roles__pubsub_dot_publisher=[of(name) for name in ("submission", *TOPICS.values())],
    )["bindings"]
    assert {finding.verdict for finding in examined(answers)} == {Verdict.WELL}


def test_a_right_with_a_condition_is_not_counted() -> None:
    answers = well()
    (binding,) = answers[f"run/{RUN}scheduling:getIamPolicy"]["bindings"]
    binding["role"] += "_withcond_0123456789abcdef"
    (wrong,) = (finding for finding in examined(answers) if finding.verdict is not Verdict.WELL)
    assert "every push is refused" in wrong.found


def test_what_the_operator_may_not_read_is_not_judged() -> None:
    denied = Refusal(403, "Permission 'iam.serviceAccounts.getIamPolicy' denied on resource.")
    answers = dict.fromkeys(well(), denied)
    findings = examined(answers)
    assert {finding.verdict for finding in findings} == {Verdict.NOT_APPLICABLE}
    assert {finding.check for finding in findings} == set(CHECKS)
    for finding in findings:
        assert re.fullmatch(
            r"not judged: your account may not read .*, which roles/[\w.]+ would let it", finding.found
        )


def test_a_policy_that_may_not_be_read_hides_no_other_one() -> None:
    answers = well()
    answers[OF_PROJECT] = Refusal(403, "The caller does not have permission")
    answers[f"pubsub/{PLACE}/topics/jobs-dead:getIamPolicy"] = policy()
    findings = examined(answers)
    unread = [finding for finding in findings if finding.verdict is Verdict.NOT_APPLICABLE]
    assert {finding.check for finding in unread} == {"functions' accounts", "jobs' account"}
    assert all(
        "the policy of project my-project, which roles/iam.securityReviewer" in each.found for each in unread
    )
    (wrong,) = (finding for finding in findings if finding.verdict is Verdict.TO_FIX)
    assert "dead letters are lost" in wrong.found


@pytest.mark.parametrize(
    ("refusal", "verdict", "words", "fix"),
    [
        (
            Refusal(403, "Cloud Run Admin API has not been used in project 1 before or it is disabled."),
            Verdict.TO_FIX,
            "run.googleapis.com is not enabled in my-project",
            f"gcloud services enable run.googleapis.com {IN_PROJECT}",
        ),
        (
            Refusal(403, "The run.googleapis.com API requires a quota project, which is not set by default."),
            Verdict.TO_FIX,
            "your login names no project for its calls",
            f"gcloud auth application-default set-quota-project {PROJECT}",
        ),
        (
            Refusal(503, "Try again."),
            Verdict.UNREACHABLE,
            "run.googleapis.com does not answer",
            "jennah doctor",
        ),
    ],
)
def test_a_refusal_that_is_no_lack_of_a_right_is_told(
    refusal: Refusal, verdict: Verdict, words: str, fix: str
) -> None:
    answers = well()
    answers[f"run/{RUN}notification"] = refusal
    wrong = [finding for finding in examined(answers) if finding.verdict is not Verdict.WELL]
    assert [finding.check for finding in wrong] == ["push to notification", "functions' accounts"]
    for finding in wrong:
        assert finding.verdict is verdict
        assert words in finding.found
        assert finding.fix.startswith(fix)


def test_the_local_cloud_is_not_judged() -> None:
    local = Deployment(DEPLOYMENT.settings, "ticks", pubsub_emulator_host="127.0.0.1:1")
    (finding,) = examine(access_checks(local))
    assert finding.verdict is Verdict.NOT_APPLICABLE


def test_the_rights_are_those_of_the_page() -> None:
    table = PERMISSIONS.read_text().partition("\n## Bindings\n")[2].partition("\n## ")[0]
    rows = re.findall(
        r"^\| `(google_\w+\.\w+)` \|.*?\| `((?:roles/|google_project_iam_custom_role)[\w./]+)`", table, re.M
    )
    assert {address: right.role for address, right in RIGHTS.items()} == {
        address: role for address, role in rows if address not in NOT_JUDGED
    }
    assert NOT_JUDGED.keys() <= dict(rows).keys()


def test_every_gcloud_command_that_it_prints_is_one() -> None:
    printed = set()
    for breaks, *_ in BROKEN.values():
        answers = well()
        breaks(answers)
        printed |= {finding.fix for finding in examined(answers) if finding.fix.startswith("gcloud")}
    assert len(printed) == len(BROKEN) - 1  # two have one remedy
    lint_gcloud(printed)
