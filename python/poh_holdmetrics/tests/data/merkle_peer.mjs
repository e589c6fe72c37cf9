// Writes merkle_peer.json, the trees that OpenZeppelin's own library makes:
//   npm install @openzeppelin/merkle-tree && node merkle_peer.mjs > merkle_peer.json
import { StandardMerkleTree } from "@openzeppelin/merkle-tree";

const address = (n) => "0x" + (BigInt(n + 1) * 0x9e3779b97f4a7c15n ** 2n).toString(16).padStart(40, "0").slice(-40);
const trees = [1, 2, 3, 5, 8, 13, 33].map((size) => {
  const values = Array.from({ length: size }, (_, n) => [address(n), (BigInt(n) ** 7n * 10n ** 18n).toString()]);
  const tree = StandardMerkleTree.of(values, ["address", "uint256"]);
  const some = values.map((_, n) => n).filter((n) => n % 3 !== 1);
  return {
    dump: tree.dump(),
    root: tree.root,
    proofs: values.map((_, n) => tree.getProof(n)),
    some,
    multi: tree.getMultiProof(some),
  };
});
console.log(JSON.stringify(trees, null, 1));
