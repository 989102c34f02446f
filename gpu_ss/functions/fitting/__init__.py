"""Segmented approximation: from a function to a table of integers that `activation` evaluates on shares.

    fitted = fit(library.target("gelu"), Wanted(degree=3))      # search.py
    report(target, fitted)                                      # errors, costs, the table: report.py
    y = activation(party, x, fitted.table)                      # on shares

`library` and `polynomials` need NumPy only; the product's own tables are made with them (`tables/make.py`).
What fits several pieces at once (`continuous`) needs SciPy: `pip install 'fastlmpi[fit]'`.
"""
