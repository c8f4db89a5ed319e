"""Every public function and class of the metrics has an example, and every example is right."""

import doctest
import importlib
import inspect
import pkgutil

import pytest

from cambench.metrics import classes, functional

MODULES = [
    f"{package.__name__}.{info.name}"
    for package in (functional, classes)
    for info in pkgutil.iter_modules(package.__path__)
    if not info.ispkg
]


@pytest.mark.parametrize("name", MODULES)
def test_examples_are_there_and_right(name):
    module = importlib.import_module(name)
    own = [
        item
        for item, value in vars(module).items()
        if not item.startswith("_")
        and (inspect.isfunction(value) or inspect.isclass(value))
        and value.__module__ == name
    ]
    examples = {
        t.name.rpartition(".")[2]: t for t in doctest.DocTestFinder(exclude_empty=True).find(module) if t.examples
    }
    assert sorted(own) == sorted(set(own) & set(examples)), "without an example"
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE)
    said = []
    for example in examples.values():
        runner.run(example, out=said.append)
    assert not runner.summarize(verbose=False).failed, "".join(said)
