# Compiler settings and the few functions that CMakeLists.txt is written in.
set(CMAKE_CXX_STANDARD 23)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
set(CMAKE_RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bin)
set(CMAKE_LIBRARY_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/lib)
set(CMAKE_ARCHIVE_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/archive)
set(CMAKE_CXX_FLAGS_RELEASE "-O3 -g -DNDEBUG")
set(CMAKE_C_FLAGS_RELEASE "-O3 -g -DNDEBUG")

set(SHUNT_MARCH "x86-64-v2" CACHE STRING "Instruction set; DPDK's packages need at least x86-64-v2")
set(SHUNT_SANITIZE "" CACHE STRING "Sanitizers for our own code, as -fsanitize takes them")
option(SHUNT_FUZZ "Build the fuzzers (clang only)" OFF)
option(SHUNT_LTO "Link-time optimisation of the shared libraries" OFF)

add_compile_options(-march=${SHUNT_MARCH} -fno-omit-frame-pointer)
add_compile_definitions(_GNU_SOURCE)

if(SHUNT_SANITIZE)
    add_compile_options(-fsanitize=${SHUNT_SANITIZE} -fno-sanitize-recover=all)
    add_link_options(-fsanitize=${SHUNT_SANITIZE})
endif()
if(SHUNT_FUZZ)
    add_compile_options(-fsanitize=fuzzer-no-link)
endif()

set(SHUNT_WARNINGS -Wall -Wextra -Werror -Wshadow -Wconversion -Wsign-conversion -Wnon-virtual-dtor -Woverloaded-virtual
    -Wcast-qual -Wformat=2 -Wimplicit-fallthrough -Wvla)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    # -Wrestrict is wrong about "text" + std::string in g++ 12 (GCC bug 105651).
    list(APPEND SHUNT_WARNINGS -Wduplicated-cond -Wlogical-op -Wno-restrict)
endif()

# Collects the .cpp files of the folders given (relative to the top) into `result`.
function(shunt_sources result)
    set(found)
    foreach(folder IN LISTS ARGN)
        file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/${folder}/*.cpp)
        list(APPEND found ${sources})
    endforeach()
    set(${result} ${found} PARENT_SCOPE)
endfunction()

# Warnings, visibility and include paths of Shunt's own code.
function(shunt_own_code target)
    target_compile_options(${target} PRIVATE $<$<COMPILE_LANGUAGE:CXX>:${SHUNT_WARNINGS}>
        # The shim is there from the program's start, so thread-locals may have fixed offsets: no call, no allocation.
        -ftls-model=initial-exec -fvisibility=hidden $<$<COMPILE_LANGUAGE:CXX>:-fvisibility-inlines-hidden>
        -ffunction-sections -fdata-sections)
    if(SHUNT_LTO)
        # Fat objects: the shared libraries are linked with LTO, the many test programs quickly without.
        target_compile_options(${target} PRIVATE -flto -ffat-lto-objects)
    endif()
    target_include_directories(${target} PRIVATE ${CMAKE_SOURCE_DIR}/src ${CMAKE_SOURCE_DIR}/include ${CMAKE_SOURCE_DIR})
endfunction()

# A shared library that exports only what `map` lets out.
function(shunt_shared_library target map)
    target_link_options(${target} PRIVATE -Wl,--version-script,${map} -Wl,--gc-sections -Wl,-z,defs -Wl,-z,now -Wl,-z,nodelete)
    set_target_properties(${target} PROPERTIES LINK_DEPENDS ${map})
    if(SHUNT_LTO)
        target_link_options(${target} PRIVATE -flto=auto -O3)
    endif()
endfunction()
if(SHUNT_LTO)
    # Programs (tests above all) are linked from the ordinary half of the fat objects.
    string(APPEND CMAKE_EXE_LINKER_FLAGS " -fno-lto")
    set(CMAKE_AR ${CMAKE_CXX_COMPILER_AR})
    set(CMAKE_RANLIB ${CMAKE_CXX_COMPILER_RANLIB})
endif()
