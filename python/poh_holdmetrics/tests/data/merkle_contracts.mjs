// Reads {"standard": [...], "distributor": [...]} from the standard input, what poh_holdmetrics made of
// some claims, and holds it against OpenZeppelin's library and Uniswap's compiled contract. Writes what
// the library makes of the same claims. What differs ends it with an error.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

import { createEVM } from "@ethereumjs/evm";
import { bytesToHex, createAddressFromString, hexToBytes } from "@ethereumjs/util";
import { StandardMerkleTree } from "@openzeppelin/merkle-tree";
import { ContractFactory, Interface } from "ethers";

const built = (name) => createRequire(import.meta.url)(`@uniswap/merkle-distributor/build/${name}.json`);
const ENCODING = ["address", "uint256"];
const given = JSON.parse(readFileSync(0, "utf-8"));

const standard = given.standard.map(({ values, root, dump, proofs, some, multi }) => {
  const theirs = StandardMerkleTree.of(values, ENCODING);
  assert.equal(root, theirs.root);
  const loaded = StandardMerkleTree.load(dump);
  loaded.validate();
  assert.equal(loaded.root, theirs.root);
  values.forEach((value, n) => {
    assert.ok(StandardMerkleTree.verify(root, ENCODING, value, proofs[n]));
    assert.deepEqual(proofs[n], loaded.getProof(n));
  });
  assert.ok(StandardMerkleTree.verifyMultiProof(root, ENCODING, multi));
  return {
    dump: theirs.dump(),
    proofs: values.map((_, n) => theirs.getProof(n)),
    multi: theirs.getMultiProof(some),
  };
});

// Uniswap's own contract, as it was deployed, pays every claim once, and no other.
const caller = createAddressFromString("0x" + "ca".repeat(20));
async function deployed(evm, name, types) {
  const { abi, bytecode } = built(name);
  const { data } = await new ContractFactory(abi, bytecode).getDeployTransaction(...types);
  const call = { caller, data: hexToBytes(data), gasLimit: 10_000_000n };
  const { createdAddress, execResult } = await evm.runCall(call);
  assert.equal(execResult.exceptionError, undefined);
  const face = new Interface(abi);
  return {
    address: createdAddress.toString(),
    call: async (method, ...args) => {
      const data = hexToBytes(face.encodeFunctionData(method, args));
      const { execResult } = await evm.runCall({ caller, to: createdAddress, data, gasLimit: 10_000_000n });
      if (execResult.exceptionError) return execResult.exceptionError.error;
      const found = face.decodeFunctionResult(method, bytesToHex(execResult.returnValue));
      return found.length ? found[0] : null;
    },
  };
}

for (const { merkleRoot, tokenTotal, claims } of given.distributor) {
  const evm = await createEVM();
  const token = await deployed(evm, "TestERC20", ["Token", "TKN", tokenTotal]);
  const distributor = await deployed(evm, "MerkleDistributor", [token.address, merkleRoot]);
  assert.equal(await token.call("transfer", distributor.address, tokenTotal), true);
  for (const [account, { index, amount, proof }] of Object.entries(claims)) {
    const more = "0x" + (BigInt(amount) + 1n).toString(16);
    assert.equal(await distributor.call("claim", index, account, more, proof), "revert");
    assert.equal(await distributor.call("claim", index, account, amount, proof), null);
    assert.equal(await token.call("balanceOf", account), BigInt(amount));
    assert.equal(await distributor.call("claim", index, account, amount, proof), "revert");
  }
  assert.equal(await token.call("balanceOf", distributor.address), 0n);
}
console.log(JSON.stringify(standard));
