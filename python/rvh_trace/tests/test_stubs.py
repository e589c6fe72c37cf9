import ast
import inspect
from pathlib import Path

import rvh_trace
from rvh_trace import _native


def test_the_stub_names_what_the_module_has():
    stub = Path(rvh_trace.__file__).with_name("_native.pyi")
    tree = ast.parse(stub.read_text(encoding="utf-8"))
    classes = {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}
    functions = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    real = {name for name in vars(_native) if not name.startswith("_")} - {"Ready"}
    assert real == functions | set(classes)
    for name, node in classes.items():
        stubbed = {item.name for item in node.body if isinstance(item, ast.FunctionDef)}
        real = {member for member in vars(getattr(_native, name)) if not member.startswith("_")}
        assert real == {member for member in stubbed if not member.startswith("_")}, name
        assert all(hasattr(getattr(_native, name), member) for member in stubbed), name


def test_everything_public_is_documented():
    for name in rvh_trace.__all__:
        if name != "__version__":
            assert inspect.getdoc(getattr(rvh_trace, name)), name
