"""What a session may reach by allow-list: rules, the decision, and the proxy that carries it out.

``rules``, ``hosts``, ``addresses`` and ``policy`` decide and do no I/O. ``heads`` knows HTTP,
``dial`` the network of this machine, ``exchange`` one request and its response; ``passage`` serves
one connection, ``proxy`` all of a session's, and ``part`` is what a caller sees of it.

Where a rule intercepts TLS, ``tls`` is what carries it on both sides, ``within`` what is said in
it; ``authority`` makes certificates, ``interception`` keeps them, and ``trust`` puts what commands
have to know of it where ``variables`` says.
"""
