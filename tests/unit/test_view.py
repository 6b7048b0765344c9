from moderator.view import View, ViewPlan, rows_of

WHOLE, TURNED = View("whole", 0, (0, 0, 9, 9)), View("whole", 0, (0, 0, 9, 9), 90)
PANEL, SECOND = View("panel", 0, (0, 0, 4, 9)), View("whole", 1, (0, 0, 9, 9))


def test_a_plan_has_the_views_that_it_asks_for() -> None:
    views = [WHOLE, TURNED, PANEL, SECOND]
    assert rows_of(ViewPlan(1), views) == [0, 3]
    assert rows_of(ViewPlan(2), views) == [0, 2, 3]
    assert rows_of(ViewPlan(2, turned=True), views) == [0, 1, 3]
    assert rows_of(ViewPlan(3, turned=True), views) == [0, 1, 2, 3]


def test_a_turned_whole_is_not_the_whole() -> None:
    assert [view.is_whole for view in (WHOLE, TURNED, PANEL, SECOND)] == [True, False, False, True]


def test_plans_have_names_of_their_own() -> None:
    plans = [ViewPlan(most, turned) for most in (1, 2, 10) for turned in (False, True)]
    assert len({str(plan) for plan in plans}) == len(plans)


def test_a_part_is_long_whichever_way_it_lies() -> None:
    sizes = [(19, 10), (10, 19), (18, 10), (10, 18), (1, 2000)]
    assert [View("panel", 0, (3, 4, *size)).is_long for size in sizes] == [True, True, False, False, True]
