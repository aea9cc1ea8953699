"""The Firestore store: documents, reads, and a batch sink that survives lost answers, poison and outages.

``store.FirestoreStore`` is the way in. Only this package and ``tandem.cluster`` talk to Google; importing it loads
gRPC, so a daemon that uses the embedded store does not.
"""
