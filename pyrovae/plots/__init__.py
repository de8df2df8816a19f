"""Figures and pictures from arrays, for results, the report and users; nothing here knows a pair."""
