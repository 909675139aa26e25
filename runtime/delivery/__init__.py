"""From a message on the bus to a handler and back: mailboxes, leases, attempts, outcomes."""
