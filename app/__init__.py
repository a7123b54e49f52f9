"""Doppelkopf: two classification heads on one encoder pass, for job ads."""
