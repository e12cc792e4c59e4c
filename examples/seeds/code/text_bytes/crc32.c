/*
 * CRC-32 as used by gzip, PNG and Ethernet.
 *
 * A cyclic redundancy check treats the message as one long polynomial whose coefficients are bits,
 * divides it by a fixed generator polynomial and keeps the remainder. Subtraction of such polynomials
 * is exclusive or, so the long division needs only shifts and XORs. The generator here is 0x04C11DB7;
 * because these formats send the least significant bit first, the code works with its mirror image,
 * 0xEDB88320, and shifts to the right.
 *
 * The table holds the effect of eight division steps for every possible byte, so that the main loop
 * handles a byte at a time. The register starts with all bits set, which makes leading zero bytes
 * count, and is inverted at the end.
 *
 * A CRC detects every burst of errors of up to 32 bits. It is no protection against a forger: anyone
 * can compute it, and it is easy to change a message without changing its CRC.
 *
 * Test: cc -std=c11 -Wall -DSELF_TEST crc32.c && ./a.out
 */

#include <stddef.h>
#include <stdint.h>

static uint32_t table[256];

/* Fills the table. Call it once before the first call of crc32_update. */
void crc32_init(void)
{
    for (uint32_t byte = 0; byte < 256; byte++) {
        uint32_t remainder = byte;
        for (int bit = 0; bit < 8; bit++)
            remainder = (remainder & 1) ? (remainder >> 1) ^ 0xEDB88320u : remainder >> 1;
        table[byte] = remainder;
    }
}

/*
 * Returns the CRC of everything seen so far. Start with crc = 0 and pass the result back in with the
 * next piece: the CRC of a file read in pieces equals that of the whole.
 */
uint32_t crc32_update(uint32_t crc, const void *data, size_t length)
{
    const unsigned char *bytes = data;

    crc = ~crc;
    for (size_t i = 0; i < length; i++)
        crc = (crc >> 8) ^ table[(crc ^ bytes[i]) & 0xFF];
    return ~crc;
}

#ifdef SELF_TEST
#include <assert.h>
#include <stdio.h>

int main(void)
{
    crc32_init();
    assert(crc32_update(0, "", 0) == 0);
    /* The check value that every catalogue of CRCs gives for this algorithm. */
    assert(crc32_update(0, "123456789", 9) == 0xCBF43926u);
    assert(crc32_update(crc32_update(0, "1234", 4), "56789", 5) == 0xCBF43926u);
    puts("crc32: ok");
    return 0;
}
#endif
