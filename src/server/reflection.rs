//! What tools of gRPC ask a server for that they do not know: its services and their messages
//! (`server.grpc_reflection`). It says nothing that the specification does not, so no token is asked for.

use axum::Router;
use pilothouse_a2a::pb::DESCRIPTORS;
use tonic_reflection::server::Builder;

/// The same routes with the reflection service, in both of its versions.
pub(super) fn add<S: Clone + Send + Sync + 'static>(router: Router<S>) -> Router<S> {
    let builder = || Builder::configure().register_encoded_file_descriptor_set(DESCRIPTORS);
    let valid = "the descriptors are those of a test";
    router
        .route_service(
            "/grpc.reflection.v1.ServerReflection/{method}",
            builder().build_v1().expect(valid),
        )
        .route_service(
            "/grpc.reflection.v1alpha.ServerReflection/{method}",
            builder().build_v1alpha().expect(valid),
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_descriptors_can_be_registered() {
        let _ = add(Router::<()>::new());
    }
}
