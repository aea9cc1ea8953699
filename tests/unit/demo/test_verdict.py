from __future__ import annotations

from tandem.demo.verdict import Fault, Flow, Move, Report, downtimes, judge, summary


def test_lost_and_doubled_are_counted_by_identity() -> None:
    assert judge(["a", "b", "c"], ["a", "c", "c", "of somebody else"]) == Flow(3, 2, 1, 1)


def test_a_report_is_clean_only_if_nothing_was_lost_or_doubled_either_way() -> None:
    fine, lost = Flow(3, 3, 0, 0), Flow(3, 2, 1, 0)
    assert Report(1, 2, fine, fine, 0, {}, []).clean
    assert not Report(1, 2, lost, fine, 0, {}, []).clean
    assert not Report(1, 2, fine, Flow(3, 3, 0, 1), 0, {}, []).clean


def test_downtime_runs_from_the_fault_to_the_role_s_move_off_the_slot() -> None:
    faults = [Fault(10.0, "host_killed", "a", "primary"), Fault(20.0, "host_killed", "a", "primary")]
    moves = [Move(10.05, "a", "backup"), Move(20.1, "b", "backup")]
    assert _rounded(downtimes(faults, moves, [], 5.0)) == {"host_killed": [50]}


def test_with_both_slots_gone_downtime_ends_with_the_first_online_again() -> None:
    faults = [Fault(10.0, "both_hosts_killed", "a", "")]
    ups = [Move(9.0, "a", "primary"), Move(10.4, "a", "backup"), Move(10.5, "a", "primary")]
    assert _rounded(downtimes(faults, [], ups, 5.0)) == {"both_hosts_killed": [400]}


def test_a_move_is_blamed_on_the_latest_cause_and_on_none_from_before_the_daemon_was_killed() -> None:
    faults = [Fault(10.0, "conflict", "a", "primary"), Fault(12.0, "both_hosts_killed", "a", "")]
    assert downtimes(faults, [Move(12.1, "a", "backup")], [], 30.0) == {}
    faults = [Fault(10.0, "conflict", "a", "primary"), Fault(12.0, "daemon_killed")]
    assert downtimes(faults, [Move(14.0, "a", "backup")], [], 30.0) == {}


def test_a_summary_of_nothing_claims_nothing() -> None:
    assert summary([]) == {"p50": None, "p99": None, "max": None}
    assert summary([3.0, 1.0, 2.0]) == {"p50": 2.0, "p99": 3.0, "max": 3.0}


def _rounded(times: dict[str, list[float]]) -> dict[str, list[int]]:
    return {kind: [round(time) for time in found] for kind, found in times.items()}
