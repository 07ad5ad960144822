"""Remedies put to the test: proposed by theory, trained for real, judged by the same rules, and kept where they cure."""
