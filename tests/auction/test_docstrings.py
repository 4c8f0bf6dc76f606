"""Every example in a docstring of the package runs and gives what it shows."""

import doctest
import importlib
import pkgutil

import pytest

import auction

MODULES = [f"auction.{module.name}" for module in pkgutil.iter_modules(auction.__path__)]


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_of_a_module_are_true(name):
    assert doctest.testmod(importlib.import_module(name)).failed == 0
