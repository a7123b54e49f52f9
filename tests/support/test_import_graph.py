from tests.support.import_graph import ImportGraph


def test_imports_are_found_in_functions_classes_and_type_checks(tmp_path):
    package = tmp_path / "app"
    (package / "deep").mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "deep" / "__init__.py").write_text("from . import low\n")
    (package / "deep" / "low.py").write_text("from ..a import x\nfrom app import b\n")
    (package / "a.py").write_text(
        "from typing import TYPE_CHECKING\n"
        "if TYPE_CHECKING:\n    from app.b import thing\nelse:\n    import json\n"
        "class C:\n    import app.deep.low\n"
        "def f():\n    async def g():\n        import torch.nn\n"
    )
    (package / "b.py").write_text("import app.a as alias\n")
    graph = ImportGraph(tmp_path)
    assert graph.used("app.a") == {"app.b", "app.deep.low"}
    assert graph.used("app.a", at_start=True) == {"app.deep.low"}
    assert graph.foreign("app.a") == {"typing", "json", "torch"}
    assert graph.foreign("app.a", at_start=True) == {"typing", "json"}
    assert graph.used("app.b") == {"app.a"}
    assert graph.used("app.deep") == {"app.deep.low"}
    assert graph.used("app.deep.low") == {"app.a", "app.b"}
    assert graph.reached("app.b", at_start=True) == {"app.b", "app.a", "app.deep.low"}
