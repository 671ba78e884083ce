"""Boxes that are found, wrong and missed."""

import numpy as np
import pytest

from projects.tree_crowns.draw_detections import detections_figure, judge, overlaps

TRUE = np.array([[0, 0, 10, 10], [20, 0, 30, 10], [50, 50, 60, 60]], dtype=float)


def test_overlaps():
    shifted = np.array([[5, 0, 15, 10], [0, 0, 10, 10]], dtype=float)
    assert overlaps(shifted, TRUE) == pytest.approx(np.array([[50 / 150, 0, 0], [1, 0, 0]]))


def test_a_true_box_is_found_once_by_the_surest_prediction():
    predicted = np.array([[0, 0, 10, 8], [0, 0, 10, 10], [21, 0, 31, 10], [55, 50, 65, 60]], dtype=float)
    found, wrong, missed = judge(predicted, np.array([0.9, 0.5, 0.8, 0.7]), TRUE)
    assert found.tolist() == [[0, 0, 10, 8], [21, 0, 31, 10]]
    assert wrong.tolist() == [[0, 0, 10, 10], [55, 50, 65, 60]]  # taken already; overlaps by a third
    assert missed.tolist() == [[50, 50, 60, 60]]


def test_without_predictions_all_is_missed_and_without_boxes_all_is_wrong():
    none = np.zeros((0, 4))
    assert len(judge(none, np.zeros(0), TRUE).missed) == 3
    assert len(judge(TRUE, np.ones(3), none).wrong) == 3


def test_the_figure_names_detectors_and_counts_boxes():
    judged = judge(TRUE[:2], np.ones(2), TRUE)
    figure = detections_figure([np.zeros((80, 80, 3), np.uint8)], dict(distilled=[judged], alone=[judged]), 'Boxes')
    assert [axes.get_ylabel() for axes in figure.axes] == ['distilled', 'alone']
    assert {axes.get_title() for axes in figure.axes} == {'2 found, 0 wrong, 1 missed'}
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ['found', 'wrong', 'missed']
