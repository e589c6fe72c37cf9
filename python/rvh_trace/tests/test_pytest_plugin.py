import pytest

from rvh_trace import span


def test_a_tree_is_asserted(spans):
    with span("order"):
        with span("payment", method="card"):
            pass
        with span("shipping"), span("label"):
            pass
    spans.assert_tree("""
        order
          payment
          shipping
            label
    """)
    assert spans["payment"].attributes == {"method": "card"}
    assert len(spans) == 4


def test_a_wrong_tree_fails(spans):
    with span("order"):
        pass
    with pytest.raises(AssertionError):
        spans.assert_tree("order\n  payment")
    with pytest.raises(pytest.fail.Exception, match="the spans that ended: order"):
        spans["payment"]
