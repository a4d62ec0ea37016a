"""The fault campaign: real fleets on a real Redis, disturbed as a seed says, and an account of
every task.

python -m nox -s chaos                  # minutes; --long for hours
python -m nox -s chaos -- --seed 4711   # one seed again
"""
