//! The client port: etcd v3 over gRPC, and what else speaks there.
