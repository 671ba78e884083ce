"""The report of the coverage sweep."""

from tests.coverage import report


def test_the_report_counts_what_works_in_all_roles():
    works = dict(source='timm', module='a', name='timm:a', roles=['early', 'late', 'teacher', 'student'])
    fails = dict(source='timm', module='b', name='timm:b', roles=['early'], reason='because')
    text = report([works, fails])
    assert '**1 of 2 timm model families (50 %) and 0 of 0 MMPretrain backbones work in all four roles.**' in text
    assert '| b | b |  |  |  | yes | no | no | no | because |' in text
