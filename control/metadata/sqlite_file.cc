#include "control/metadata/sqlite_file.h"

#include <cerrno>

#include <sqlite3.h>

#include "reactor/base/assert.h"

namespace basalt::metadata {
namespace {

Error error_of(int code, int system_errno) {
    switch (code & 0xff) {
        case SQLITE_BUSY:
        case SQLITE_LOCKED: return Error(Errc::kBusy);
        case SQLITE_FULL: return Error(Errc::kNoSpace);
        case SQLITE_CORRUPT:
        case SQLITE_NOTADB: return Error(Errc::kDataCorrupt);
        case SQLITE_READONLY: return Error(Errc::kReadOnly);
        case SQLITE_PERM:
        case SQLITE_AUTH: return Error(Errc::kPermissionDenied);
        case SQLITE_CANTOPEN:
            return Error(system_errno == EACCES ? Errc::kPermissionDenied : Errc::kNotFound);
        default: return Error(Errc::kIo, 0, system_errno);
    }
}

}  // namespace

SqliteStatement::SqliteStatement(SqliteFile& file, const char* sql) : file_(file) {
    const int code = sqlite3_prepare_v3(
        file.database_, sql, -1, SQLITE_PREPARE_PERSISTENT, &statement_, nullptr);
    BASALT_ASSERT(code == SQLITE_OK);  // The text and the tables are ours.
}

SqliteStatement::~SqliteStatement() {
    sqlite3_finalize(statement_);
}

SqliteStatement& SqliteStatement::bind(int index, std::string_view bytes) {
    const int code =
        sqlite3_bind_blob64(statement_, index + 1, bytes.data(), bytes.size(), SQLITE_STATIC);
    BASALT_ASSERT(code == SQLITE_OK);
    return *this;
}

SqliteStatement& SqliteStatement::bind(int index, uint64_t number) {
    const int code = sqlite3_bind_int64(statement_, index + 1, static_cast<sqlite3_int64>(number));
    BASALT_ASSERT(code == SQLITE_OK);
    return *this;
}

Result<bool> SqliteStatement::step() {
    const int code = sqlite3_step(statement_);
    if (code == SQLITE_ROW) {
        return true;
    }
    const Error problem = code == SQLITE_DONE ? Error() : file_.error();
    sqlite3_reset(statement_);
    if (code != SQLITE_DONE) {
        return problem;
    }
    return false;
}

Status SqliteStatement::run() {
    BASALT_TRY(const bool has_row, step());
    BASALT_ASSERT(!has_row);
    return kOk;
}

std::string_view SqliteStatement::bytes(int column) const {
    // The blob first: asking for its size may not move it.
    const void* blob = sqlite3_column_blob(statement_, column);
    const int size = sqlite3_column_bytes(statement_, column);
    return {static_cast<const char*>(blob), static_cast<size_t>(size)};
}

uint64_t SqliteStatement::number(int column) const {
    return static_cast<uint64_t>(sqlite3_column_int64(statement_, column));
}

Result<std::unique_ptr<SqliteFile>> SqliteFile::open(const std::string& path) {
    std::unique_ptr<SqliteFile> file(new SqliteFile());
    const int code =
        sqlite3_open_v2(path.c_str(),
                        &file->database_,
                        SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX,
                        nullptr);
    if (code != SQLITE_OK) {
        return file->error();
    }
    // Exclusive before the log is begun: it needs no shared memory then, and nobody else gets in.
    for (const char* setting : {"PRAGMA locking_mode = EXCLUSIVE",
                                "PRAGMA journal_mode = WAL",
                                "PRAGMA synchronous = FULL",
                                "BEGIN EXCLUSIVE",
                                "COMMIT"}) {
        if (const Status done = file->run(setting); !done) {
            return done.error();
        }
    }
    return file;
}

SqliteFile::~SqliteFile() {
    const int code = sqlite3_close(database_);
    BASALT_ASSERT(code == SQLITE_OK);  // All statements have ended.
}

Status SqliteFile::run(const char* sql) {
    if (sqlite3_exec(database_, sql, nullptr, nullptr, nullptr) != SQLITE_OK) {
        return error();
    }
    return kOk;
}

Error SqliteFile::error() const {
    return error_of(sqlite3_extended_errcode(database_), sqlite3_system_errno(database_));
}

}  // namespace basalt::metadata
