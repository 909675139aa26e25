"""What people ask for about a finding: checked, done and said."""

from antiphon.agents.logging_agent.ladder import OVER, experiment_on, policy_id, policy_of
from antiphon.agents.logging_agent.trial import entry_of
from antiphon.runtime.clock import Clock
from antiphon.runtime.errors import ConfigurationError
from antiphon.runtime.finding_log import FindingLog
from antiphon.runtime.policies.book import PolicyBook
from antiphon.schemas.finding import Finding, FindingState, Grade, QualityRisk
from antiphon.schemas.finding_request import ApplyFinding, DismissFinding
from antiphon.schemas.policy import Level

_STATES = {Level.SHADOW: FindingState.SHADOW, Level.CANARY: FindingState.CANARY, Level.ON: FindingState.APPLIED}


async def apply_finding(wish: ApplyFinding, said: FindingLog, book: PolicyBook, clock: Clock) -> Finding:
    """Put the remedy at the level that is wished for; the finding as it then is.

    Raises:
        ConfigurationError: no such finding, nothing that a policy could do, a risk that the wish does not accept, or
            another remedy that is being tried on the same runs.
        UnknownAgent, UnknownHandler: what the remedy is about has gone.
        BusError: it may be half done; repeat it.
    """
    finding = await said.find(wish.finding)
    who = f" by {wish.by}" if wish.by else ""
    if wish.level is Level.SUGGEST:
        if not await book.remove(policy_id(finding)) and finding.state in OVER | {FindingState.GONE}:
            raise ConfigurationError(f"finding {finding.id} is {finding.state} and its remedy is not applied")
        return await _say(said, finding, FindingState.DISMISSED, f"taken back{who}")
    _check(wish, finding)
    others = [policy for policy in await book.entries() if policy.id != policy_id(finding)]
    if wish.level is not Level.ON:
        entries = {id: entry_of(each) for id, each in (await said.all()).items()}
        known = tuple((policy, entries.get(policy.finding or "", "")) for policy in others)
        busy = experiment_on(entry_of(finding), known)
        if busy is not None:
            raise ConfigurationError(
                f"policy {busy.id} is being tried on the same runs, and two at once cannot be told apart: wait for it, "
                "or take it back first"
            )
    now_ms = clock.unix_ns() // 1_000_000
    await book.set(policy_of(finding, wish.level, now_ms=now_ms, share=wish.share, reason=f"applied{who}"))
    is_measured = finding.state is FindingState.VERIFIED and wish.level is not Level.SHADOW
    state = FindingState.VERIFIED if is_measured else _STATES[wish.level]
    return await _say(said, finding, state, f"applied{who} at level {wish.level}")


async def dismiss_finding(wish: DismissFinding, said: FindingLog, book: PolicyBook) -> Finding:
    """Say that the finding is dismissed, and remove its policy; the finding as it then is.

    Raises:
        ConfigurationError: no such finding.
        BusError: it may be half done; repeat it.
    """
    finding = await said.find(wish.finding)
    who = f" by {wish.by}" if wish.by else ""
    why = f": {wish.reason}" if wish.reason else ""
    found = await _say(said, finding, FindingState.DISMISSED, f"dismissed{who}{why}")
    await book.remove(policy_id(finding))
    return found


def _check(wish: ApplyFinding, finding: Finding) -> None:
    if finding.remedy.proposal is None:
        raise ConfigurationError(f"no policy can do this remedy, it needs a person: {finding.remedy.text}")
    if finding.state is FindingState.CANDIDATE:
        raise ConfigurationError(
            f"finding {finding.id} has been seen in {finding.support} of the {finding.required} "
            f"{finding.support_unit} that it takes: wait for more"
        )
    if finding.state is FindingState.GONE:
        raise ConfigurationError(f"finding {finding.id} is gone ({finding.note}): it opens again when runs show it")
    risks = {
        f"it is of grade {finding.grade}, not proven": finding.grade is not Grade.A,
        f"results may change (quality risk {finding.quality_risk})": finding.quality_risk is not QualityRisk.NONE,
    }
    found = " and ".join(text for text, is_so in risks.items() if is_so)
    if found and not wish.sure:
        raise ConfigurationError(f"finding {finding.id}: {found}; say so if it shall be applied all the same (--yes)")


async def _say(said: FindingLog, finding: Finding, state: FindingState, note: str) -> Finding:
    found = finding.model_copy(update={"state": state, "note": note})
    await said.append(found)
    return found
