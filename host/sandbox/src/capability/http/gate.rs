//! The first look at a guest's request, before its parts are made into a URI.
//!
//! The library below drops a fragment while it builds the URI, so that only here can one be seen and refused. All else is
//! decided in the hooks. Invariant: what reaches the hooks is byte for byte what the guest set.

use wasmtime::StoreContextMut;
use wasmtime::component::{Linker, Resource};
use wasmtime_wasi_http::p2::bindings::http::outgoing_handler::Host as _;
use wasmtime_wasi_http::p2::bindings::http::types::{
    self, ErrorCode, FutureIncomingResponse, OutgoingRequest, RequestOptions,
};
use wasmtime_wasi_http::p2::{HttpResult, bindings};
use wasmtime_wasi_http::{WasiHttp, WasiHttpView as _};

use super::exchange::CAPABILITY;
use super::target::plain;
use crate::state::CallState;

/// The linker takes any 0.2 that a guest was built with for this one.
const HANDLER: &str = "wasi:http/outgoing-handler@0.2.12";

type Arguments = (Resource<OutgoingRequest>, Option<Resource<RequestOptions>>);

/// Links `wasi:http`, with this gate before its handler.
pub(crate) fn link(linker: &mut Linker<CallState>) -> wasmtime::Result<()> {
    let options = bindings::LinkOptions::default();
    types::add_to_linker::<_, WasiHttp>(linker, &(&options).into(), CallState::http)?;
    linker.instance(HANDLER)?.func_wrap(
        "handle",
        |mut store: StoreContextMut<'_, CallState>, (request, options): Arguments| match handle(
            store.data_mut(),
            request,
            options,
        ) {
            Ok(response) => Ok((Ok(response),)),
            Err(error) => Ok((Err(error.downcast()?),)),
        },
    )
}

fn handle(
    state: &mut CallState,
    request: Resource<OutgoingRequest>,
    options: Option<Resource<RequestOptions>>,
) -> HttpResult<Resource<FutureIncomingResponse>> {
    let asked = state.table.get(&request)?;
    let path = asked.path_with_query.as_deref().unwrap_or_default();
    if !path.contains('#') {
        return state.http().handle(request, options);
    }
    let method: Result<http::Method, _> = asked.method.clone().try_into();
    let method = method.map_or_else(|_| "?".to_owned(), |method| method.to_string());
    let host = asked.authority.as_deref().unwrap_or_default().rsplit('@').next().unwrap_or_default();
    let target = plain(&format!("//{host}{}", path.split(['?', '#']).next().unwrap_or_default()));
    state.call.deny(CAPABILITY, &method, &target, "the URL has a fragment", None);
    drop(state.table.delete(request)?);
    Err(ErrorCode::HttpRequestDenied.into())
}
