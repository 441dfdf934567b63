//! The wire types, as generated from `proto/`.
//!
//! Clients are always here; servers only with the feature `node`. Byte fields are [`bytes::Bytes`].

/// The client port: etcd's services and messages.
#[allow(missing_docs, clippy::all)]
pub mod etcdserverpb {
    tonic::include_proto!("etcdserverpb");
}

/// etcd's key-values and events.
#[allow(missing_docs, clippy::all)]
pub mod mvccpb {
    tonic::include_proto!("mvccpb");
}

/// etcd's users and roles.
#[allow(missing_docs, clippy::all)]
pub mod authpb {
    tonic::include_proto!("authpb");
}

/// Services of our own.
pub mod kvorum {
    /// Exactly-once writes, and the abstractions for programs.
    #[allow(missing_docs, clippy::all)]
    pub mod v1 {
        tonic::include_proto!("kvorum.v1");
    }
}

/// Replica to replica.
#[allow(missing_docs, clippy::all)]
pub mod peer {
    tonic::include_proto!("kvorum.peer.v2");
}

/// Every file above as an encoded `FileDescriptorSet`, for gRPC reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
