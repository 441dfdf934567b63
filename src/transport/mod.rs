//! Peer streams: checksummed frames over gRPC, one long-lived stream per ordered pair of replicas.
