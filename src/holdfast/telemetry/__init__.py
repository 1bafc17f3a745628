"""What happened, counted: metrics, queues, funnels, costs.

It is read from the ledger, so it survives restarts and adds up over runners.
"""
