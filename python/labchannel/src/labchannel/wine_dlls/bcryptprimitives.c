/* Wine 8 lacks this library, and Rust's std takes its randomness from the one function of it. */
#include <windows.h>

/* RtlGenRandom, by the only name that advapi32 exports it under. */
BOOLEAN NTAPI SystemFunction036(PVOID buffer, ULONG length);

__declspec(dllexport) BOOL WINAPI ProcessPrng(PBYTE data, SIZE_T length)
{
    while (length > 0) {
        ULONG part = length > 0x40000000 ? 0x40000000 : (ULONG)length;
        SystemFunction036(data, part);
        data += part;
        length -= part;
    }
    return TRUE;
}
