// The program's signal handlers, run when they may call us: not while their thread holds the stack's lock or the shim's.
#pragma once

namespace shunt::preload {

// Runs the handler that had to wait, if there is one and it may run now.
void run_deferred_handler() noexcept;

}  // namespace shunt::preload
