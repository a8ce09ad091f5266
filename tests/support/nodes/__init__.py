import os

# Ray reads this once, when it is imported, and a process that attaches to a head with tokens needs
# it too.
os.environ.setdefault("RAY_AUTH_MODE", "token")
