// See invitation.hpp.
#include "pmd/invitation.hpp"

#include <fcntl.h>
#include <link.h>
#include <sys/mman.h>

#include <algorithm>
#include <cstring>

#include "base/descriptors.hpp"
#include "base/sys.hpp"
#include "pmd/descriptor_message.hpp"
#include "pmd/eal.hpp"

#ifndef MAP_FIXED_NOREPLACE
#define MAP_FIXED_NOREPLACE 0x100000
#endif

namespace shunt::pmd {
namespace {

constexpr std::size_t fds_max = Invitation::pieces_max + Invitation::numbers_max;

constinit Invitation prepared{};
constinit std::array<int, fds_max> prepared_fds{};
constinit bool is_prepared = false;
constinit Invitation accepted{};  // the last

// The linker's build id of the object that holds this code. All zero where it has none, which nobody trusts.
std::array<unsigned char, 20> own_build() {
    std::array<unsigned char, 20> id{};
    dl_iterate_phdr(
        [](dl_phdr_info* object, std::size_t, void* to) {
            const auto here = reinterpret_cast<std::uintptr_t>(&own_build);
            bool is_own = false;
            for (int i = 0; i < object->dlpi_phnum; ++i) {
                const ElfW(Phdr)& header = object->dlpi_phdr[i];
                is_own = is_own || (header.p_type == PT_LOAD && here - (object->dlpi_addr + header.p_vaddr) < header.p_memsz);
            }
            for (int i = 0; is_own && i < object->dlpi_phnum; ++i) {
                const ElfW(Phdr)& header = object->dlpi_phdr[i];
                const auto* note = reinterpret_cast<const ElfW(Nhdr)*>(object->dlpi_addr + header.p_vaddr);
                if (header.p_type == PT_NOTE && note->n_type == NT_GNU_BUILD_ID && note->n_descsz >= 20) {
                    std::memcpy(to, reinterpret_cast<const char*>(note + 1) + 4, 20);
                }
            }
            return is_own ? 1 : 0;
        },
        &id);
    return id;
}

bool is_acceptable(const Invitation& invitation, std::string_view facts, long size, std::size_t fds) {
    const auto build = own_build();
    const bool has_build = std::ranges::any_of(build, [](unsigned char each) { return each != 0; });
    return size == sizeof invitation && invitation.magic == Invitation{}.magic && has_build && invitation.build == build && std::string_view(invitation.facts.data(), strnlen(invitation.facts.data(), invitation.facts.size())) == facts &&
           invitation.piece_count <= Invitation::pieces_max && invitation.number_count <= Invitation::numbers_max &&
           fds == invitation.piece_count + invitation.number_count;
}

void unmap_pieces(const Invitation& invitation, std::size_t count) noexcept {
    std::for_each_n(invitation.pieces.begin(), count, [](const Invitation::Piece& each) { sys::call(SYS_munmap, static_cast<long>(each.address), static_cast<long>(each.size)); });
}

// All or nothing.
bool map_pieces(const Invitation& invitation, std::span<const int> fds) noexcept {
    for (std::size_t i = 0; i < invitation.piece_count; ++i) {
        const Invitation::Piece& piece = invitation.pieces[i];
        const long mapped = sys::call(SYS_mmap, static_cast<long>(piece.address), static_cast<long>(piece.size), PROT_READ | PROT_WRITE,
                                      MAP_SHARED | MAP_NORESERVE | MAP_FIXED_NOREPLACE, fds[i], static_cast<long>(piece.offset));
        if (mapped != static_cast<long>(piece.address)) {
            unmap_pieces(invitation, i);
            return false;
        }
    }
    return true;
}

// Each under the number that it has with the others. False when the program has something there.
bool place_descriptors(const Invitation& invitation, std::span<const int> fds) noexcept {
    for (std::size_t i = 0; i < fds.size(); ++i) {
        const int number = invitation.numbers[i];
        if (number == fds[i]) {
            move_up(number);
            continue;
        }
        if (sys::fcntl(number, F_GETFD) >= 0 || sys::call(SYS_dup3, fds[i], number, O_CLOEXEC) != number) {
            return false;
        }
        move_up(number);
        sys::close(fds[i]);
    }
    return true;
}

}  // namespace

bool prepare_invitation(const void* stack, std::span<const int> descriptors, std::string_view facts) noexcept {
    std::array<SharedPiece, Invitation::pieces_max> pieces{};
    std::size_t count = memory_pieces(pieces);
    for (const SharedPiece& each : shared_pieces()) {
        if (each.size != 0 && count < pieces.size()) {
            pieces[count++] = each;
        }
    }
    const bool is_whole = std::all_of(pieces.begin(), pieces.begin() + static_cast<std::ptrdiff_t>(count), [](const SharedPiece& each) { return each.fd >= 0; });
    if (!is_whole || descriptors.size() > Invitation::numbers_max || facts.size() >= prepared.facts.size()) {
        return false;
    }
    std::ranges::copy(facts, prepared.facts.begin());
    prepared.build = own_build();
    prepared.stack = reinterpret_cast<std::uint64_t>(stack);
    std::size_t fd_count = 0;
    for (std::size_t i = 0; i < count; ++i) {
        prepared.pieces[i] = {reinterpret_cast<std::uint64_t>(pieces[i].base), pieces[i].size, pieces[i].offset};
        prepared_fds[fd_count++] = pieces[i].fd;
    }
    prepared.piece_count = static_cast<std::uint32_t>(count);
    for (const int fd : descriptors) {
        prepared.numbers[prepared.number_count++] = fd;
        prepared_fds[fd_count++] = fd;
    }
    is_prepared = true;
    return true;
}

long send_invitation(int fd, const sockaddr* to, socklen_t size) noexcept {
    if (!is_prepared) {
        return -EOPNOTSUPP;
    }
    return DescriptorMessage().send(fd, prepared, std::span(prepared_fds).first(prepared.piece_count + prepared.number_count), to, size);
}

Joined join(const std::string& name, std::string_view facts, Duration silent) {
    // Many may ask at once, and a socket takes ten questions (net.unix.max_dgram_qlen).
    constexpr timespec pause{0, 5'000'000};
    const auto until = std::chrono::steady_clock::now() + silent;
    int fd = ask_holder(name, verb_join);
    while (fd == -EAGAIN && std::chrono::steady_clock::now() < until) {
        sys::call(SYS_nanosleep, sys::word(&pause), 0);
        fd = ask_holder(name, verb_join);
    }
    if (fd < 0) {
        return {fd == -EAGAIN ? Joining::silent : Joining::nobody, nullptr};
    }
    pollfd readable{fd, POLLIN, 0};
    const timespec patience{static_cast<time_t>(silent.count() / 1'000'000'000), static_cast<long>(silent.count() % 1'000'000'000)};
    sys::ppoll(&readable, 1, &patience, nullptr);
    Invitation invitation;
    std::array<int, fds_max> fds{};
    std::size_t count = 0;
    const long size = DescriptorMessage().receive(fd, invitation, fds, count);
    close_ours(fd);
    const std::span<const int> got(fds.data(), count);
    if (!is_acceptable(invitation, facts, size, count)) {
        std::ranges::for_each(got, [](int each) { sys::close(each); });
        const bool has_no_programs = size > 0 && count == 0;   // its holder leaves
        return {size < 0 ? Joining::silent : has_no_programs ? Joining::nobody : Joining::refused, nullptr};
    }
    const bool is_mapped = map_pieces(invitation, got);
    std::ranges::for_each(got.first(invitation.piece_count), [](int each) { sys::close(each); });
    if (!is_mapped) {
        return {Joining::refused, nullptr};
    }
    if (!place_descriptors(invitation, got.subspan(invitation.piece_count))) {
        unmap_pieces(invitation, invitation.piece_count);
        return {Joining::refused, nullptr};
    }
    accepted = invitation;
    return {Joining::joined, reinterpret_cast<void*>(invitation.stack)};
}

void undo_join() noexcept {
    unmap_pieces(accepted, accepted.piece_count);
    std::for_each_n(accepted.numbers.begin(), accepted.number_count, [](int number) { close_ours(number); });
}

}  // namespace shunt::pmd
