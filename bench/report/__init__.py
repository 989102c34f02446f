"""`fastlmpi report`: results files as one page that needs nothing else. See command.py."""
