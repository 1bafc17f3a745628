"""What happened, counted: metrics, queues, funnels, costs; read from the ledger, so that it
survives restarts and adds up over runners."""
