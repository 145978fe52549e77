// All of the library: #include <shunt/shunt.hpp>. See docs/native.md for a guide and examples/*_native.cpp for programs.
#pragma once

#include "shunt/buffer.hpp"  // IWYU pragma: export
#include "shunt/handle.hpp"  // IWYU pragma: export
#include "shunt/stack.hpp"   // IWYU pragma: export
#include "shunt/tcp.hpp"     // IWYU pragma: export
#include "shunt/types.hpp"   // IWYU pragma: export
#include "shunt/udp.hpp"     // IWYU pragma: export
